"""What is wrong with a checkpoint; known also to those who load none."""


class CheckpointError(RuntimeError):
    """A checkpoint cannot be used."""


class MissingError(CheckpointError):
    """There is no checkpoint there."""


class DamagedError(CheckpointError):
    """A file is not what the manifest says, or a weight is not a finite number."""


class UntrustedError(CheckpointError):
    """Nobody whom we trust vouches for it."""


class MismatchError(CheckpointError):
    """The files are intact but do not belong together, or are of another format."""
