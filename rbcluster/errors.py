"""Every exception rbcluster raises on purpose.

An error says what was tried, with what, and what to do about it; it keeps its cause
(``raise ... from error``) and never carries a secret.

Overview::

    RbclusterError
      |- ConfigError            cluster.toml, a certificate or the command line is wrong
      |- KeyFileError           a key file is missing, short, foreign, or readable by others
      |- DescriptorError        an onion-service descriptor can't be used
      |    |- ParseError        its text is malformed
      |    |- VerificationError a signature or certificate does not hold
      |    |- DecryptionError   a layer can't be opened with the keys at hand
      |    +- DescriptorLimitError  too many introduction points, or too many bytes
      |- CommandError           bytes that are no command of this version of the state machine
      |    +- SchemaError       ... but of a newer one: this node must be upgraded
      |- TorError               tor can't do what was asked
      |    |- ControlPortError  the control connection failed, timed out or was refused
      |    |- TorOptionError    tor runs with options that would break the service
      |    +- ConsensusUnavailable  there is no live consensus
      |- RaftError              the cluster can't do what was asked
      |    |- NotLeader         only the leader can
      |    |- NoLeader          nobody leads who could decide
      |    |- RuleBroken        it was looked at and refused
      |    +- OutcomeUnknown    no answer in time: it may have been done, or not
      +- StorageError           a journal or snapshot can't be read or written
           +- StorageInUseError ... for another process uses it
"""

from __future__ import annotations


class RbclusterError(Exception):
    """Base of everything rbcluster raises on purpose; its text is one sentence for an operator."""


class ConfigError(RbclusterError):
    """The configuration is wrong; the text names each faulty key, its value and the rule."""


class KeyFileError(RbclusterError):
    """A key file can't be used; the text names the file and the remedy, never its content."""


class DescriptorError(RbclusterError):
    """An onion-service descriptor can't be used."""


class ParseError(DescriptorError):
    """The text of a document is malformed; the message names the layer and the line."""


class VerificationError(DescriptorError):
    """A signature or a certificate does not hold."""


class DecryptionError(DescriptorError):
    """A layer can't be opened with the keys at hand. Deliberately says nothing more."""


class DescriptorLimitError(DescriptorError):
    """A descriptor would break a limit that clients or HSDirs enforce."""


class CommandError(RbclusterError):
    """Bytes that are no command, or no state, of this version of the state machine."""


class SchemaError(CommandError):
    """A command or state of a newer version of the state machine than this release knows.

    To skip it would make this node's state another than that of the others: it must stop.
    """


class TorError(RbclusterError):
    """Tor can't do what was asked."""


class ControlPortError(TorError):
    """The control connection failed, timed out, or tor refused the request."""


class TorOptionError(TorError):
    """Tor runs with options that would break the service; the text names each and its remedy."""


class ConsensusUnavailable(TorError):  # noqa: N818 - a state of the world, not a mistake
    """There is no live consensus to work from."""


class RaftError(RbclusterError):
    """The cluster can't do what was asked."""


class NotLeader(RaftError):  # noqa: N818 - Raft's own word
    """Only the leader can do this."""


class NoLeader(RaftError):  # noqa: N818 - a state of the world, not a mistake
    """Nobody could take a command in time; it is certainly not done."""


class RuleBroken(RaftError):  # noqa: N818 - a verdict, not a mistake of ours
    """What was asked breaks a rule, which the text names; it is not done."""


class OutcomeUnknown(RaftError):  # noqa: N818 - a state of the world, not a mistake
    """No answer came in time: what was asked may be done, or still get done."""


class StorageError(RbclusterError):
    """A journal or snapshot can't be read or written; the text names the file and the remedy."""


class StorageInUseError(StorageError):
    """Another process uses the data directory."""
