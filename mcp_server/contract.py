"""The seam: every type that crosses MCP, the names of the tools, and the codes of the errors.

Tools take and return these; the shim's gateway rebuilds them from JSON. It imports `types.py` files only and is the
one module that both processes share, so a change here is a change of the protocol between them. No core imports it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from mcp_server.engine.types import (
    Completion,
    Delta,
    DetokenizeResult,
    EmbeddingRequest,
    EmbeddingResult,
    EngineStatistics,
    FinishReason,
    GenerationRequest,
    GenerationResult,
    Infill,
    InfillFile,
    LoadedModel,
    LoadFailure,
    Message,
    Model,
    ModelList,
    ModelProperties,
    ModelStatistics,
    OutputParams,
    Pooling,
    PullProgress,
    RenderedPrompt,
    RerankRequest,
    RerankResult,
    SamplingParams,
    SchedulingParams,
    SlotStatistics,
    TemplateParams,
    Timings,
    TokenizeRequest,
    TokenizeResult,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolUse,
    TopLogprob,
    Unloaded,
    UpstreamStatistics,
    Usage,
    join_deltas,
)
from mcp_server.lens.types import Score
from rag.types import (
    CollectionList,
    DeleteResult,
    Document,
    FileSize,
    FolderSize,
    Hit,
    IndexProgress,
    IndexReport,
    IndexRequest,
    IndexStatus,
    LanguageShare,
    Outline,
    OutlineItem,
    Overview,
    RetrievalStatus,
    RetrieveRequest,
    RetrieveResult,
    SkippedFile,
    SymbolLocation,
    SymbolRequest,
    SymbolResult,
)
from sandbox.types import (
    ExecutionRequest,
    ExecutionResult,
    FailureAnalysis,
    FailureReport,
    Language,
    SandboxStatus,
    SyntaxReport,
    TracebackFrame,
    Verdict,
)

__all__ = [
    "ERROR_MEANINGS",
    "AnalyzedFailure",
    "CollectionList",
    "Completion",
    "DeleteResult",
    "Delta",
    "DetokenizeResult",
    "Diagnosis",
    "Document",
    "EmbeddingRequest",
    "EmbeddingResult",
    "EngineStatistics",
    "ErrorCode",
    "ExecutionRequest",
    "ExecutionResult",
    "FailureAnalysis",
    "FailureReport",
    "FileSize",
    "Finding",
    "FinishReason",
    "FolderSize",
    "GenerationRequest",
    "GenerationResult",
    "Hit",
    "IndexProgress",
    "IndexReport",
    "IndexRequest",
    "IndexStatus",
    "Infill",
    "InfillFile",
    "Language",
    "LanguageList",
    "LanguageShare",
    "LoadFailure",
    "LoadedModel",
    "Message",
    "Model",
    "ModelList",
    "ModelProperties",
    "ModelStatistics",
    "Outline",
    "OutlineItem",
    "OutputParams",
    "Overview",
    "Pooling",
    "PullProgress",
    "RenderedPrompt",
    "RerankRequest",
    "RerankResult",
    "RetrievalStatus",
    "RetrieveRequest",
    "RetrieveResult",
    "SamplingParams",
    "SandboxStatus",
    "SchedulingParams",
    "Score",
    "ServerStatus",
    "SkippedFile",
    "SlotStatistics",
    "SymbolLocation",
    "SymbolRequest",
    "SymbolResult",
    "SyntaxReport",
    "TemplateParams",
    "Timings",
    "TokenLogprob",
    "TokenizeRequest",
    "TokenizeResult",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolName",
    "ToolUse",
    "TopLogprob",
    "TracebackFrame",
    "Unloaded",
    "UpstreamStatistics",
    "Usage",
    "Verdict",
    "join_deltas",
]


class ToolName(StrEnum):
    """Every tool the MCP server offers."""

    GENERATE = "generate"
    EMBED = "embed"
    RERANK = "rerank"
    TOKENIZE = "tokenize"
    DETOKENIZE = "detokenize"
    RENDER_PROMPT = "render_prompt"
    DESCRIBE_MODEL = "describe_model"
    LOAD_MODEL = "load_model"
    UNLOAD_MODEL = "unload_model"
    LIST_MODELS = "list_models"
    PULL_MODEL = "pull_model"
    REMOVE_MODEL = "remove_model"
    SCORE = "score"
    EXECUTE = "execute"
    CHECK_SYNTAX = "check_syntax"
    ANALYZE_FAILURE = "analyze_failure"
    LIST_LANGUAGES = "list_languages"
    INDEX = "index"
    INDEX_STATUS = "index_status"
    LIST_COLLECTIONS = "list_collections"
    DELETE_COLLECTION = "delete_collection"
    RETRIEVE = "retrieve"
    FIND_SYMBOL = "find_symbol"
    OUTLINE = "outline"
    OVERVIEW = "overview"
    STATUS = "status"
    DIAGNOSE = "diagnose"


class ErrorCode(StrEnum):
    """Every code a tool error may carry. A door maps it to an HTTP status (`shim.errors.STATUS`)."""

    INVALID_REQUEST = "invalid_request"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    LIMIT_EXCEEDED = "limit_exceeded"
    UNKNOWN_LANGUAGE = "unknown_language"
    TOOLCHAIN_MISSING = "toolchain_missing"
    UNKNOWN_TOOL = "unknown_tool"
    MODEL_NOT_FOUND = "model_not_found"
    COLLECTION_NOT_FOUND = "collection_not_found"
    QUEUE_FULL = "queue_full"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    NOT_SUPPORTED = "not_supported"
    UPSTREAM_ERROR = "upstream_error"
    MODEL_LOAD_FAILED = "model_load_failed"
    MODEL_PULL_FAILED = "model_pull_failed"
    EMBEDDING_UNAVAILABLE = "embedding_unavailable"
    STORE_UNAVAILABLE = "store_unavailable"
    SANDBOX_UNAVAILABLE = "sandbox_unavailable"
    SANDBOX_ERROR = "sandbox_error"
    CANCELLED = "cancelled"
    RETRIEVAL_ERROR = "retrieval_error"
    ENGINE_ERROR = "engine_error"
    INTERNAL_ERROR = "internal_error"
    BACKEND_UNAVAILABLE = "backend_unavailable"


ERROR_MEANINGS: dict[ErrorCode, str] = {
    ErrorCode.INVALID_REQUEST: "A field cannot be used as given; `param` names it.",
    ErrorCode.CONTEXT_LENGTH_EXCEEDED: "The prompt does not fit the model's context; the message has both numbers.",
    ErrorCode.LIMIT_EXCEEDED: "The files given exceed a limit of the settings; the message has both numbers.",
    ErrorCode.UNKNOWN_LANGUAGE: "The sandbox does not know this language; the message lists those it knows.",
    ErrorCode.TOOLCHAIN_MISSING: "The language's compiler or interpreter is not installed; the message says how.",
    ErrorCode.UNKNOWN_TOOL: "The MCP server has no tool of this name.",
    ErrorCode.MODEL_NOT_FOUND: "No such model on this machine; the message lists those there are.",
    ErrorCode.COLLECTION_NOT_FOUND: "No such collection; index it first.",
    ErrorCode.QUEUE_FULL: "As many requests wait as the setting allows; retry after the time in Retry-After.",
    ErrorCode.DEADLINE_EXCEEDED: "Not done within the time that the request gave; the message has it.",
    ErrorCode.NOT_SUPPORTED: "This model cannot do that; the message says what it lacks.",
    ErrorCode.UPSTREAM_ERROR: "The server of a remote model failed or cannot be reached; the message has its words.",
    ErrorCode.MODEL_LOAD_FAILED: "The model file cannot be loaded; the message says why.",
    ErrorCode.MODEL_PULL_FAILED: "The download failed: offline, not found, or a wrong checksum.",
    ErrorCode.EMBEDDING_UNAVAILABLE: "The weights of the embedding model are not on this machine.",
    ErrorCode.STORE_UNAVAILABLE: "The folder or database with the collections cannot be used; the message says why.",
    ErrorCode.SANDBOX_UNAVAILABLE: "No isolation works on this machine; `cinque doctor` says how to get one.",
    ErrorCode.SANDBOX_ERROR: "The sandbox's own machinery failed; the program was not judged.",
    ErrorCode.CANCELLED: "The caller gave up; the program was killed.",
    ErrorCode.RETRIEVAL_ERROR: "The index's own machinery failed.",
    ErrorCode.ENGINE_ERROR: "Native inference failed.",
    ErrorCode.INTERNAL_ERROR: "A defect of Cinque; the log has the traceback under the request id.",
    ErrorCode.BACKEND_UNAVAILABLE: "The MCP server process is down and restarting; retry after Retry-After.",
}


@dataclass(frozen=True)
class LanguageList:
    """Languages the sandbox knows, in its own order."""

    languages: tuple[Language, ...]


@dataclass(frozen=True)
class AnalyzedFailure:
    """An analysis, and the lens' score of the same code."""

    analysis: FailureAnalysis
    score: Score | None  # None: not asked for, or no lens is loaded
    score_note: str  # why there is no score; empty when there is one


@dataclass(frozen=True)
class ServerStatus:
    """What works in the MCP server process at this moment, and what it has done."""

    pid: int
    version: str
    uptime_s: float
    http_url: str | None  # where `/mcp` and `/sse` are; None when this process serves no HTTP
    inference_ready: bool  # a model can be loaded, or is
    inference_detail: str
    inference_notice: str  # what a person should know of the default model: that it is the embedded one; often empty
    lens_ready: bool
    engine: EngineStatistics
    sandbox: SandboxStatus
    retrieval: RetrievalStatus


@dataclass(frozen=True)
class Finding:
    """One thing `cinque doctor` looked at. `cost` and `fix` are empty when it is in order."""

    name: str
    state: Literal["ok", "degraded", "missing"]
    detail: str
    cost: str  # what does not work without it
    fix: str  # the command or setting that mends it


@dataclass(frozen=True)
class Diagnosis:
    """Everything `cinque doctor` looked at, in the order of the README."""

    findings: tuple[Finding, ...]
