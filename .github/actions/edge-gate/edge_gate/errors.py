"""What can be wrong with a workflow's inputs or surroundings."""


class ActionError(Exception):
    """Told to the user as one error line: what was wrong, where, and what to change."""
