"""From words to codes: `find` reads and answers, `matching` decides, the others help it."""
