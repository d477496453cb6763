"""Reasoning blocks: the tags between which a model thinks, found in its own template.

Some templates open the block themselves, so that the output begins inside it; `starts_inside` tells. Knows nothing of
tokens or streams; `output_parser` cuts the blocks out.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReasoningTags:
    """How a model marks its reasoning."""

    open: str
    close: str
    drops: tuple[str, ...] = ()  # other marks of the answer's own structure, which nobody wants to read

    def starts_inside(self, prompt: str) -> bool:
        """Tell whether the prompt ends with an open block."""
        return prompt.rstrip().endswith(self.open.rstrip())

    def is_open_in(self, text: str) -> bool:
        """Tell whether the text ends inside a block."""
        return text.rfind(self.open) > text.rfind(self.close)


HARMONY = ReasoningTags(
    "<|channel|>analysis<|message|>",
    "<|end|>",
    ("<|start|>assistant", "<|channel|>final<|message|>", "<|channel|>commentary<|message|>", "<|end|>"),
)
KNOWN_TAGS = (
    HARMONY,
    ReasoningTags("<seed:think>", "</seed:think>"),
    ReasoningTags("<mm:think>", "</mm:think>"),
    ReasoningTags("<think:opensource>", "</think:opensource>"),
    ReasoningTags("[THINK]", "[/THINK]"),
    ReasoningTags("<|START_THINKING|>", "<|END_THINKING|>"),
    ReasoningTags("<|channel>thought\n", "<channel|>"),
    ReasoningTags("<|inner_prefix|>", "<|inner_suffix|>"),
    ReasoningTags("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    ReasoningTags("<think>", "</think>"),
)


def find_tags(*texts: str) -> ReasoningTags | None:
    """Find the tags in a template's source and in what it renders; None when it has no reasoning."""
    everything = "\n".join(texts)
    return next((tags for tags in KNOWN_TAGS if tags.open.rstrip() in everything and tags.close in everything), None)
