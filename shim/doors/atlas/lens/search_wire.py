"""The search of a project on the wire: the fields and the answer of the tool `retrieve`. ATLAS has no such endpoint."""

from typing import Literal

from pydantic import BaseModel, Field

from mcp_server.contract import RetrieveRequest, RetrieveResult


class SearchRequest(BaseModel):
    """What to find in a project, and how much of it."""

    query: str = Field(min_length=1, description="A question, a name or an error message; or what to match")
    max_results: int = Field(default=10, ge=1, le=100, description="Results at most (count)")
    max_tokens: int = Field(
        default=8000, ge=1, le=100_000, description="Text of all results together; 4 characters each (tokens)"
    )
    mode: Literal["hybrid", "exact", "regex"] = Field(
        default="hybrid", description="hybrid: by meaning and words; exact: this very text; regex: in RE2's syntax"
    )
    path_glob: str | None = Field(default=None, description="Only paths that match, like `src/**/*.py`")
    language: str | None = Field(default=None, description="Only this language")
    kind: Literal["function", "method", "class", "section", "window"] | None = Field(
        default=None, description="Only this kind"
    )
    include_neighbours: bool = Field(default=False, description="Add what stands beside the best results")


class SearchHit(BaseModel):
    """One span of a file. Ranks begin at 1 and are null where that ranking did not return the span."""

    path: str
    start_line: int
    end_line: int
    language: str
    kind: str
    symbol: str
    text: str
    score: float = Field(description="Higher is better, comparable only within one answer")
    dense_rank: int | None
    sparse_rank: int | None
    static_rank: int | None = Field(description="By the quicker vectors, while dense ones are missing")
    matched_lines: list[int] = Field(description="Of modes exact and regex: the lines of the file that match")


class SearchResponse(BaseModel):
    """Results, best first; `truncated` says that a limit cut some off."""

    project_id: str
    query: str
    results: list[SearchHit]
    truncated: bool


def retrieve_request(body: SearchRequest, project_id: str) -> RetrieveRequest:
    """Translate a search."""
    return RetrieveRequest(collection=project_id, **body.model_dump())


def search_response(result: RetrieveResult) -> SearchResponse:
    """Translate what was found."""
    hits = [SearchHit.model_validate(hit, from_attributes=True) for hit in result.hits]
    return SearchResponse(project_id=result.collection, query=result.query, results=hits, truncated=result.truncated)
