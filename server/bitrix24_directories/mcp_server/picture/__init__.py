"""The picture of a directory in the chat: the page, and what it draws."""
