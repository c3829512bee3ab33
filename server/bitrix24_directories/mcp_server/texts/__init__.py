"""Results as text. Imports nothing of the SDK."""
