"""What can be wrong with a source or a request, as one exception with a machine-readable reason.

The operator copies reason and message into the Dataset's condition, so a message is one plain sentence that names the
file and the row where there is one, and says what to change.
"""

REASONS = frozenset(
    {
        "SourceMissing",
        "SourceEmpty",
        "ChecksumMismatch",
        "DownloadFailed",
        "RaggedRow",
        "EncodingError",
        "ColumnMismatch",
        "TypeMismatch",
        "PublishFailed",
        "UnknownGenerator",
        "BadParameter",
        "FormatMismatch",
        "MemoryTooSmall",
        "TooManyMissingValues",
        "TooManyDuplicates",
        "ConstantColumns",
        "TooManyOutliers",
        "ClassesImbalanced",
        "TargetLeaks",
        "TooManyInvalidValues",
        "TooManySharedRows",
        "NotComparable",
        "InvalidConversation",
        "TooFewExamples",
        "TooFewRows",
        "LayoutMismatch",
        "InvalidRecord",
        "UnknownLabel",
        "TooFewDocuments",
        "LabelNotTested",
        "PermissionDenied",
        "S3Unavailable",
    }
)


class Problem(Exception):
    """A fault of the input or of the surroundings that a user can act on; `reason` is one of REASONS."""

    def __init__(self, reason: str, message: str) -> None:
        if reason not in REASONS:
            raise ValueError(f"unknown reason {reason}")
        super().__init__(message)
        self.reason = reason
        self.message = message
