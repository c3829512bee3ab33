"""Several codes of a directory become one: the records that carry them are moved, the items deleted; and back."""
