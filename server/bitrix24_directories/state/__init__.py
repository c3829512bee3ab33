"""State that the replicas of a team's server share, inside the process or in Redis."""
