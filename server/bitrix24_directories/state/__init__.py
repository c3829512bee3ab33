"""What the replicas of a team's server share: one interface, inside the process or in Redis."""
