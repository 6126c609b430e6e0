"""Checks of a node's answers against what they commit to, on a chain that is made as we know."""

from service.chain.node import NodeLied
from service.telemetry import logger


class Check:
    """A check that holds good once it has held: what a chain makes otherwise than we know is not a lie.

    Until it has, a failure says that this chain's headers or receipts are made otherwise: that is logged once as
    `unknown_header` or `unknown_receipts`, and nothing follows from it.

    Args:
        name: what is checked.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._holds = False
        self._told = False

    def judge(self, proven: bool | None, detail: str) -> bool:
        """Whether an answer is proven; None is one that is made otherwise than we know.

        Raises:
            NodeLied: it is refuted, by a check that held before; `detail` says which answer.
        """
        if proven:
            self._holds = True
            return True
        if proven is False and self._holds:
            raise NodeLied(detail)
        self._holds = False
        if not self._told:
            self._told = True
            logger().warning(f"unknown_{self._name}", detail=detail)
        return False
