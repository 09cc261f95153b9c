"""The failures a configuration can have; cluster.errors has the rest of the tree."""


class PickaxeError(Exception):
    """Base of every failure that Pickaxe raises on purpose."""


class UserError(PickaxeError):
    """What the user gave can't work; the message says what to give instead."""
