"""Croissant metadata (MLCommons, version 1.0): what is in a folder, for programs, as JSON-LD.

https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

from collections.abc import Sequence

from app.db.base import Json
from app.services.data.hub import readme
from app.services.data.hub.card import Card
from app.services.data.hub.rows import Column, SplitFile
from app.services.projects.projects import UNSPECIFIED

# As the specification has it, word for word.
CONTEXT: Json = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
PARQUET = "application/x-parquet"
TYPES = {"string": "sc:Text", "bool": "sc:Boolean", "float": "sc:Float", "double": "sc:Float"}


def croissant(card: Card, files: Sequence[SplitFile]) -> Json:
    """The whole document."""
    version, project = card.version, card.project
    is_licensed = project.licence != UNSPECIFIED
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": readme.name_of(card),
        "description": project.description or readme.ABOUT[version.kind],
        "datePublished": version.created_at.isoformat(),
        "version": f"{version.number}.0.0",
        **({"license": project.licence} if is_licensed else {}),
        "rai:dataBiases": readme.biases(card),
        **({"rai:dataAnnotationProtocol": card.guidelines} if card.guidelines else {}),
        "distribution": [_file(file) for file in files],
        "recordSet": [_records(file) for file in files],
    }


def _file(file: SplitFile) -> Json:
    return {
        "@type": "cr:FileObject",
        "@id": file.path,
        "name": file.path,
        "contentUrl": file.path,
        "contentSize": f"{file.size_bytes} B",
        "encodingFormat": PARQUET,
        "sha256": file.sha256,
    }


def _records(file: SplitFile) -> Json:
    return {
        "@type": "cr:RecordSet",
        "@id": file.split,
        "name": file.split,
        "description": f"{file.rows} rows of the split {file.split}.",
        "field": [_field(file, column) for column in file.columns],
    }


def _field(file: SplitFile, column: Column) -> Json:
    field = {"@type": "cr:Field", "@id": f"{file.split}/{column.name}", "name": f"{file.split}/{column.name}"}
    if column.is_several:
        field["repeated"] = True  # type: ignore[assignment]
    if column.parts:
        return {**field, "subField": [_part(file, column, part) for part in column.parts]}
    return {**field, "dataType": _type(column), "source": _source(file, column)}


def _part(file: SplitFile, column: Column, part: Column) -> Json:
    place = f"{file.split}/{column.name}/{part.name}"
    source = {**_source(file, column), "transform": {"jsonPath": part.name}}
    return {"@type": "cr:Field", "@id": place, "name": place, "dataType": _type(part), "source": source}


def _source(file: SplitFile, column: Column) -> Json:
    return {"fileObject": {"@id": file.path}, "extract": {"column": column.name}}


def _type(column: Column) -> str:
    """Of all that isn't named, integers."""
    return TYPES.get(column.type, "sc:Integer")
