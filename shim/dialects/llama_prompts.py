"""The forms in which llama.cpp's server takes a prompt: text, token ids, a mix of both, and lists of such.

A pure translation to one `Prompt` each; tokenizing the texts of a mix is the door's work.
"""

from typing import Annotated

from pydantic import BaseModel, Field

Token = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]


class PromptObject(BaseModel):
    """A prompt as an object, as llama.cpp's server takes it with pictures or sound; here with text only."""

    prompt_string: str
    multimodal_data: list[str] | None = None


Piece = Token | str
PromptField = str | PromptObject | list[Piece | PromptObject | list[Piece]]
Prompt = str | tuple[int | str, ...]
"""One prompt: text, or token ids with texts between them."""


def prompts_of(given: PromptField) -> tuple[Prompt, ...]:
    """Return the prompts of *given*, which is one prompt or several.

    Raises:
        ValueError: when there is none, one is empty, or one has pictures or sound.
    """
    several = _several(given)
    prompts = tuple(_prompt(item) for item in several) if several is not None else (_prompt(given),)
    if not prompts or () in prompts:
        msg = "the prompt is empty; give at least one token"
        raise ValueError(msg)
    return prompts


def _several(given: PromptField) -> list[Piece | PromptObject | list[Piece]] | None:
    if not isinstance(given, list):
        return None
    has_nested = any(isinstance(item, list | PromptObject) for item in given)
    if has_nested or (given and all(isinstance(item, str) for item in given)):
        return given
    return None


def _prompt(item: object) -> Prompt:
    if isinstance(item, PromptObject):
        if item.multimodal_data:
            msg = "multimodal_data: the models here read text only; leave it out"
            raise ValueError(msg)
        return item.prompt_string
    if isinstance(item, list):
        return tuple(item)
    if isinstance(item, str):
        return item
    msg = "a list that has prompts in it must not have bare token ids; put them into a list of their own"
    raise ValueError(msg)
