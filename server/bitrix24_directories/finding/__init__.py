"""From a human's words to the right code: `find` reads and answers, `matching` decides, the others serve it."""
