"""What the account's role needs for hearing of changes; to say who it is, it needs nothing."""

from __future__ import annotations

from millrace.aws.permissions import Feature, Grant

_MADE = "arn:aws:sqs:REGION:ACCOUNT:millrace-*"
_GIVEN = "arn:aws:sqs:REGION:ACCOUNT:QUEUE"
_LISTENS = ("sqs:DeleteMessage", "sqs:ReceiveMessage")
FEATURES = (
    Feature(
        "CloudAccount with events.managed",
        (
            Grant(
                ("events:DeleteRule", "events:DescribeRule", "events:PutRule", "events:PutTargets", "events:RemoveTargets"),
                ("arn:aws:events:REGION:ACCOUNT:rule/millrace-*",),
                implied=("events:TagResource",),
            ),
            Grant(
                (
                    "sqs:CreateQueue",
                    "sqs:DeleteQueue",
                    "sqs:GetQueueAttributes",
                    "sqs:GetQueueUrl",
                    "sqs:SetQueueAttributes",
                    *_LISTENS,
                ),
                (_MADE,),
                implied=("sqs:TagQueue",),
            ),
        ),
    ),
    Feature("CloudAccount with events.queueURL", (Grant(_LISTENS, (_GIVEN,)),)),
)
