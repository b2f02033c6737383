class FAIL_REASON:
    SUCCESS: int
    QUEUE_FULL: int
    MISSING_LEADER: int
    DISCARDED: int
    NOT_LEADER: int
    LEADER_CHANGED: int
    REQUEST_DENIED: int
    UNKNOWN_OUTCOME: int

class SERIALIZER_STATE:
    NOT_SERIALIZING: int
    SUCCESS: int

class SyncObjConf:
    def __init__(
        self,
        *,
        autoTick: bool,
        raftMinTimeout: float,
        raftMaxTimeout: float,
        appendEntriesPeriod: float,
        appendEntriesUseBatch: bool,
        appendEntriesBatchSizeBytes: int,
        leaderFallbackTimeout: float,
        connectionTimeout: float,
        commandsWaitLeader: bool,
        commandsQueueSize: int,
        logCompactionMinEntries: int,
        logCompactionMinTime: float,
        dynamicMembershipChange: bool,
        useFork: bool,
        journalFile: object,
        fullDumpFile: str,
    ) -> None: ...
