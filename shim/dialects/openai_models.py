"""OpenAI's list of models: plain, and with what llama.cpp's server adds.

That is `meta` of each loaded model, and a second list in Ollama's form.
"""

from typing import Literal

from pydantic import BaseModel

from mcp_server.contract import Model, ModelProperties

OWNER = "llamacpp"  # what llama.cpp's server says, and its clients look for


class ModelEntry(BaseModel):
    """One model, in OpenAI's form."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "cinque"


class ModelsPage(BaseModel):
    """Every model, the default first."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]


class ModelMeta(BaseModel):
    """What a loaded model is."""

    n_vocab: int
    n_ctx: int
    n_ctx_train: int
    n_embd: int
    n_params: int
    size: int
    ftype: str


class ModelStatus(BaseModel):
    """Whether a model is in memory."""

    value: Literal["loaded", "unloaded"]


class LlamaModelEntry(BaseModel):
    """One model; `meta` is null until it is loaded."""

    id: str
    aliases: list[str]
    object: Literal["model"] = "model"
    created: int
    owned_by: str = OWNER
    path: str
    status: ModelStatus
    meta: ModelMeta | None


class LlamaModelDetails(BaseModel):
    """What clients of Ollama read of a model; empty until it is loaded."""

    parent_model: str = ""
    format: Literal["gguf", ""] = "gguf"  # "" of a remote model, whose server does not tell
    family: str = ""
    families: list[str]
    parameter_size: str = ""
    quantization_level: str = ""


class LlamaNamedModel(BaseModel):
    """One model in the form of Ollama."""

    name: str
    model: str
    modified_at: str = ""
    size: str = ""
    digest: str = ""
    type: Literal["model"] = "model"
    description: str = ""
    tags: list[str]
    capabilities: list[str]
    parameters: str = ""
    details: LlamaModelDetails


class LlamaModelsPage(BaseModel):
    """Every model, the default first, in both forms."""

    models: list[LlamaNamedModel]
    object: Literal["list"] = "list"
    data: list[LlamaModelEntry]


def plain_models_page(models: tuple[Model, ...]) -> ModelsPage:
    """Encode *models* in OpenAI's form alone."""
    return ModelsPage(data=[plain_model_entry(model) for model in models])


def plain_model_entry(model: Model) -> ModelEntry:
    """Encode one model in OpenAI's form alone."""
    return ModelEntry(id=model.model_id, created=model.created_at)


def models_page(models: tuple[Model, ...], described: dict[str, ModelProperties]) -> LlamaModelsPage:
    """Encode *models*; *described* has those that are loaded, by id."""
    return LlamaModelsPage(
        models=[_named(model, described.get(model.model_id)) for model in models],
        data=[_entry(model, described.get(model.model_id)) for model in models],
    )


def _entry(model: Model, known: ModelProperties | None) -> LlamaModelEntry:
    meta = known and ModelMeta(
        n_vocab=known.n_vocab,
        n_ctx=known.context_tokens,
        n_ctx_train=known.trained_context_tokens,
        n_embd=known.n_embedding,
        n_params=known.n_parameters,
        size=known.size_bytes,
        ftype=known.quantization,
    )
    return LlamaModelEntry(
        id=model.model_id,
        aliases=list(model.aliases),
        created=model.created_at,
        path=model.path,
        status=ModelStatus(value="loaded" if model.is_loaded else "unloaded"),
        meta=meta,
    )


def _named(model: Model, known: ModelProperties | None) -> LlamaNamedModel:
    details = LlamaModelDetails(families=[""], format="" if model.source == "remote" else "gguf")
    if known is not None:
        details = LlamaModelDetails(
            family=known.architecture,
            families=[known.architecture],
            parameter_size=str(known.n_parameters),
            quantization_level=known.quantization,
        )
    generates = known is None or known.can_generate
    return LlamaNamedModel(
        name=model.model_id,
        model=model.model_id,
        tags=[""],
        capabilities=["completion"] if generates else [],
        details=details,
    )
