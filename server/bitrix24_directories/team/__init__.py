"""The server of a team, over HTTP: who may call, as whom on the portal, and how much at a time."""
