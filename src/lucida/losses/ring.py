"""Several processes that score the global batch together, none of which holds it: blocks of rows go round a ring.

Each process keeps its own rows and is visited by every block of the others in turn, its own first. What a visitor
carries along may be changed; after a whole round it is home again. So a process meets B/p · B pairs rather than B · B,
and holds its own rows and two blocks of others at a time (one that is here, one that arrives) rather than all, as
SigLIP's chunked loss does (Zhai et al. 2023, arXiv:2303.15343, section 3.3).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, distributed


class Ring:
    """The processes of a group in the order of their ranks; one process without any group is a ring, too.

    All processes of the group make one together, and use it for the same losses in the same order.

    Args:
        rows: how many rows this process has.
        group: of processes (``torch.distributed.group.WORLD`` for all of them); None for this process alone.
        device: of the rows.
    """

    def __init__(
        self, rows: int, group: distributed.ProcessGroup | None = None, device: torch.device | str | None = None
    ):
        self._group = group
        self.size = distributed.get_world_size(group) if group is not None else 1
        self.rank = distributed.get_rank(group) if group is not None else 0
        counts = torch.zeros(self.size, dtype=torch.int64, device=device)
        counts[self.rank] = rows
        self.rows: list[int] = self.total(counts).tolist()

    @property
    def total_rows(self) -> int:
        """Of all processes."""
        return sum(self.rows)

    @property
    def offset(self) -> int:
        """Where the rows of this process begin among all."""
        return sum(self.rows[: self.rank])

    def round(self, *block: Tensor, home: int = 1) -> Iterator[list[Tensor]]:
        """The blocks of all processes, this one's first; tensors that are replaced or changed in the list travel on.

        After the round the last list that was given out holds, in its last places, what came home.

        Args:
            block: tensors of this process with one row a row of its own, contiguous.
            home: how many of them, the last ones, come home from the last process; the others end there.
        """
        visitor = list(block)
        for turn in range(self.size):
            yield visitor
            if self.size > 1:
                stays = len(visitor) - home if turn == self.size - 1 else 0
                visitor[stays:] = self._passed_on(visitor[stays:], (self.rank + turn + 1) % self.size)

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size > 1:
            tensor = tensor.clone()
            distributed.all_reduce(tensor, group=self._group)
        return tensor

    def gathered(self, numbers: Tensor) -> Tensor:
        """One number a row, ``[rows]``, of all processes: ``[total_rows]``."""
        everywhere = numbers.new_zeros(self.total_rows)
        everywhere[self.offset : self.offset + len(numbers)] = numbers
        return self.total(everywhere)

    def _passed_on(self, visitor: list[Tensor], owner: int) -> list[Tensor]:
        """What the next process had, in exchange for what is here now."""
        behind, ahead = (self.rank - 1) % self.size, (self.rank + 1) % self.size
        arrived = [tensor.new_empty(self.rows[owner], *tensor.shape[1:]) for tensor in visitor]
        group, to_or_from = self._group, distributed.P2POp
        exchange = [to_or_from(distributed.isend, x.contiguous(), group=group, group_peer=behind) for x in visitor]
        exchange += [to_or_from(distributed.irecv, x, group=group, group_peer=ahead) for x in arrived]
        for work in distributed.batch_isend_irecv(exchange) if exchange else ():
            work.wait()
        return arrived
