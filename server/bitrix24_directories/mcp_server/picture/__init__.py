"""The picture of a directory in the chat: the page and its data."""
