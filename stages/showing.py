"""The command class of stages: its help lists their settings, and it warns of those that it does not read."""

from contextlib import suppress
from typing import Any

from typer.core import TyperCommand

from gptmodel.errors import GptModelError
from stages.command import note
from stages.options import PARAMS_FILE


def showing(*sections: str, reads: tuple[str, ...] = ()) -> type[TyperCommand]:
    """Return the command class whose help ends with these sections' settings, as the params file has them now.

    It warns of an -S outside of these sections, of runtime, and of what else the command `reads`, sections or keys.
    """

    class StageCommand(TyperCommand):
        def invoke(self, ctx: Any) -> Any:
            from gptmodel.params_file import load_params

            settings, read = ctx.params["settings"] or (), {"runtime", *sections, *reads}
            keys = [setting.partition("=")[0] for setting in settings]
            if unread := [key for key in keys if not {key, key.partition(".")[0]} & read]:
                with suppress(GptModelError):  # the command tells what is wrong with a setting
                    load_params(ctx.params["params_file"], settings)
                    for key in unread:
                        note(f"warning: -S {key} changes nothing here, since {self.name} does not read it")
            return super().invoke(ctx)

        def format_epilog(self, ctx: Any, formatter: Any) -> None:
            from gptmodel.config import SECTIONS
            from gptmodel.params_file import read_params
            from gptmodel.section import described, plain

            try:
                values = read_params(path := ctx.params.get("params_file") or PARAMS_FILE)
            except GptModelError as error:
                formatter.write_paragraph()
                formatter.write_text(f"The settings cannot be listed: {error}")
                return
            for section in sections:
                section_values = values.get(section) or {}
                rows = [
                    (f"{section}.{key}", f"{described(field)}  [default: {plain(section_values.get(key))}]")
                    for key, field in SECTIONS[section].model_fields.items()
                ]
                with formatter.section(f"Settings of {path}, section {section} (change with -S)"):
                    formatter.write_dl(rows)

    return StageCommand
