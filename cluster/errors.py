"""Failures that have a name. Each survives pickling, so it may cross processes.

PickaxeError
├── UserError       the input is at fault: one line, exit status 2, no traceback
├── PolicyError     no answer for one decision: ends that episode, recorded as its cause
│   └── FatalPolicyError  no later answer will come either (a refused key): ends the run
├── TraceError      a file of traces is torn or foreign
└── RunError        a part that the run needs has died: one line with the root cause, exit status 1
    └── FinalError  every learner meets it, and would again: they are not started anew for it
"""

from configs.errors import PickaxeError, UserError

__all__ = [
    "FatalPolicyError",
    "FinalError",
    "PickaxeError",
    "PolicyError",
    "RunError",
    "TraceError",
    "UserError",
]


class PolicyError(PickaxeError):
    """One decision could not be had from a policy."""


class FatalPolicyError(PolicyError):
    """The policy will not answer again."""


class TraceError(PickaxeError):
    """A trace file can't be read."""


class RunError(PickaxeError):
    """The run can't go on."""


class FinalError(RunError):
    """To start the learners anew would not help."""
