"""The OpenAPI document: the requests' schemas from their types, the answers' by hand."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from ..model import Model, Texts
from ._limits import Limits
from ._messages import Explain, Predict

_LABEL = {"type": ["string", "number", "boolean"]}
_NUMBERS = {"type": "array", "items": {"type": "number"}}
_ANSWERS: dict[str, Any] = {
    "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
    "Prediction": {
        "description": "The likeliest label with its probability, or the value or values of a regression.",
        "type": "object",
        "properties": {
            "label": _LABEL,
            "probability": {"type": "number"},
            "probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
            "value": {"type": "number"},
            "values": _NUMBERS,
        },
    },
    "Predictions": {
        "type": "object",
        "required": ["predictions"],
        "properties": {
            "predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}}
        },
    },
    "Explanation": {
        "description": "Outputs: the probability of each label, or the values, after each token.",
        "type": "object",
        "required": ["tokens", "known", "labels", "outputs", "before", "layers"],
        "properties": {
            "tokens": {"type": "array", "items": {"type": "string"}},
            "known": {"type": "array", "items": {"type": "boolean"}},
            "labels": {"type": "array", "items": {"type": "string"}},
            "outputs": {"type": "array", "items": _NUMBERS},
            "before": _NUMBERS,
            "layers": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "cell": {"type": "string"},
                        "values": {
                            "type": "object",
                            "additionalProperties": {"type": "array", "items": _NUMBERS},
                        },
                    },
                },
            },
        },
    },
    "Models": {
        "type": "object",
        "required": ["models"],
        "properties": {"models": {"type": "array", "items": {"type": "object"}}},
    },
}
_ERRORS = {
    "400": "The JSON is malformed or of another form; the message names the field.",
    "401": "The token is missing or wrong.",
    "403": "A page of another site asked.",
    "404": "There is no such model.",
    "408": "The request came too slowly.",
    "413": "The body, a text or their number is above the limit.",
    "415": "The body is not application/json.",
    "429": "The client asks too often; Retry-After says when to try again.",
    "503": "Too many requests or connections wait; Retry-After says when to try again.",
}


def document(models: Sequence[Model], limits: Limits) -> dict[str, Any]:
    """Return the OpenAPI document of a server."""
    (_, schemas) = msgspec.json.schema_components(
        [Predict, Explain], ref_template="#/components/schemas/{name}"
    )
    first = models[0]
    texts = isinstance(first.inputs, Texts)
    example = {"text": "A wonderful film."} if texts else {"sequence": _example_sequence(first)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"stepfold: {', '.join(model.name for model in models)}",
            "version": version("stepfold"),
            "description": "Trained recurrent networks. The WebSocket /stream reads a text as it comes: send "
            '{"text": "a chunk"} or {"token": "word"}, receive {"tokens", "outputs"}. ' + _said(limits),
        },
        "paths": {
            "/predict": _post(
                "Label and probabilities of one text or sequence, or of many",
                Predict,
                example,
                {"oneOf": [_reference("Prediction"), _reference("Predictions")]},
            ),
            "/explain": _post(
                "What a model makes of one text or sequence after each token",
                Explain,
                {**example, "values": False},
                _reference("Explanation"),
            ),
            "/models": _get("The models: labels, layers, inputs", _reference("Models")),
            "/health": _get("Whether the server answers", {"type": "object"}, token=False),
            "/metrics": _get("Figures for Prometheus", {"type": "string"}, media="text/plain"),
            "/openapi.json": _get("This document", {"type": "object"}),
            "/docs": _get("This document as a page", {"type": "string"}, media="text/html"),
            "/": _get("The page on which a model reads as one types", {"type": "string"}, media="text/html"),
        },
        "components": {
            "schemas": {**schemas, **_ANSWERS},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic", "description": "The token is the password."},
            },
        },
        "security": [{}, {"bearer": []}, {"basic": []}],
    }


def _said(limits: Limits) -> str:
    rate = f", {limits.rate:g} requests a second of each client" if limits.rate else ""
    return (
        f"Limits: a body of {limits.body_bytes:,} bytes, {limits.texts:,} texts a request, "
        f"{limits.characters:,} characters a text{rate}."
    )


def _example_sequence(model: Model) -> Any:
    features = getattr(model.inputs, "features", None)
    return [4, 5, 6] if features is None else [[0.0] * features] * 2


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _post(summary: str, body: type, example: Any, answer: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": _reference(body.__name__), "example": example}}
    errors = {
        status: {
            "description": text,
            "content": {"application/json": {"schema": _reference("Error")}},
        }
        for status, text in _ERRORS.items()
    }
    return {
        "post": {
            "summary": summary,
            "requestBody": {"required": True, "content": content},
            "responses": {**_done(answer, "application/json"), **errors},
        }
    }


def _get(summary: str, answer: Any, *, media: str = "application/json", token: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = {"summary": summary, "responses": _done(answer, media)}
    return {"get": found if token else {**found, "security": [{}]}}


def _done(answer: Any, media: str) -> dict[str, Any]:
    return {"200": {"description": "Done.", "content": {media: {"schema": answer}}}}
