"""What a user should know of the rows that were read, before anything is made of them."""

from __future__ import annotations

from tasks.config.settings import Settings
from tasks.source.ingest import Ingested
from tasks.source.leading import told_leading
from tasks.source.present import told_ahead, told_left_out
from tasks.source.validate import Validated, told_marked
from tasks.tables.lineage import lineage_notes
from tasks.tables.publish import told_behind
from tasks.tables.silence import told_silence


def notes_on_rows(ingested: Ingested, validated: Validated, settings: Settings, line: str, *, new: bool) -> list[str]:
    """What they mean and which lie ahead; where no moment was asked for, which series lead, and that rows end before
    what is published, or have no news.
    """
    notes = [
        *lineage_notes(settings, line, validated, new=new),
        *told_marked(ingested.rows, settings.source),
        *told_ahead(ingested, validated.as_of, settings.source),
        *told_left_out(ingested, settings.source),
    ]
    if ingested.as_of is not None:
        return notes
    return [
        *notes,
        *told_leading(validated.rows, settings.source),
        *told_behind(settings, validated),
        *told_silence(settings, validated.as_of),
    ]
