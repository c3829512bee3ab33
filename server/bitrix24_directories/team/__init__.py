"""The HTTP server of a team: who may call, as whom on the portal, and how much at a time."""
