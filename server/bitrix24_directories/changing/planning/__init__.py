"""From what is declared, or asked for, to the steps between, by the rules of the portal."""
