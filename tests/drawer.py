"""A real context whose row of logits a test writes, so that it knows the distribution that samplers draw from."""

from typing import Any

import numpy as np

from mcp_server.engine.chat.detokenizer import Detokenizer
from mcp_server.engine.grammar.grammar import Grammar
from mcp_server.engine.model_runner import ModelRunner
from mcp_server.engine.sampling.sampler import TokenSampler
from mcp_server.engine.scheduler import Chunk
from mcp_server.engine.sequence import Sequence
from mcp_server.engine.types import SamplingParams


class Drawer:
    """A real context whose row of logits a test writes, so that it knows the distribution that is drawn from."""

    def __init__(self, runner: ModelRunner) -> None:
        self.runner, self.vocabulary = runner, runner.vocabulary
        self.n_vocab = runner.vocabulary.n_tokens
        self._open: list[TokenSampler] = []
        runner.memory.remove(0, 0)
        sequence = Sequence(0, 0, [1], 1, 1, self.sampler(), Detokenizer())
        rows = runner.run([Chunk(sequence, 0, 0, [1], n_outputs=1)])
        assert rows is not None
        ((self.row,),) = rows

    def sampler(
        self, *, seed: int = 1, grammar: Grammar | None = None, prompt: tuple[int, ...] = (), **sampling: Any
    ) -> TokenSampler:
        self._open.append(
            TokenSampler(self.vocabulary, SamplingParams(**sampling), seed=seed, grammar=grammar, prompt=prompt)
        )
        return self._open[-1]

    def write(self, logits: Any) -> None:
        self.runner.logits(self.row)[:] = logits

    def draw(self, sampler: TokenSampler, logits: Any = None, n: int = 1) -> list[int | None]:
        drawn = []
        for _ in range(n):
            if logits is not None:
                self.write(logits)
            drawn.append(sampler.sample(self.runner.native_context, self.row))
        return drawn

    def flat(self, **likely: float) -> Any:
        """Logits of -50 but for those named `t10=3.0`, as if the vocabulary had no others."""
        logits = np.full(self.n_vocab, -50, np.float32)
        for name, value in likely.items():
            logits[int(name[1:])] = value
        return logits

    def accepts(self, grammar: Grammar, text: str | bytes) -> bool:
        """Tell whether a grammar allows this text, byte by byte, and then an end."""
        logits = self.flat()
        sampler = self.sampler(grammar=grammar, temperature=0)
        by_piece = {piece: token for token, piece in enumerate(self.vocabulary.pieces) if len(piece) == 1}
        data = text if isinstance(text, bytes) else text.encode()
        for token in (*(by_piece[bytes([byte])] for byte in data), self.vocabulary.end_tokens[0]):
            logits[:] = -50
            logits[token] = 0
            if self.draw(sampler, logits) != [token]:
                return False
        return True

    def close(self) -> None:
        for sampler in self._open:
            sampler.close()
