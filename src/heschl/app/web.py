"""The page itself, drawn with gradio: everything that it shows comes from `heschl.app.answering`.

It calls nobody: gradio's analytics are off, fonts are the reader's own, and the content-security policy that is sent
with every answer lets the browser ask this server alone.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from heschl.app import answering
from heschl.app.answering import MEGABYTES, METHODS, OWN, SECONDS, Hidden, Model, Understood
from heschl.app.look import answers_now, bars, changed, heard, script, seen, style, svg, trouble
from heschl.types import Clip, HeschlError

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob: ws: wss:; "
    "worker-src 'self' blob:; frame-ancestors 'self'"
)
HELLO = (
    "# Speak to a network\n\nIt answers, shows which part of the sound its answer relied on, and plays it. "
    f"At most {SECONDS:g} s and {MEGABYTES} MB; what you give stays on the computer that runs this page, "
    "and is removed after two hours."
)

HINT = "<p class=note>Drag over the picture: what you mark goes silent, and the network is asked again.</p>"


def launch(
    models: Mapping[str, Model], host: str = "127.0.0.1", port: int | None = None, **options: Any
) -> Any:
    """Serves the page at an address until it is stopped; what gradio's `launch` gives.

    Raises
    ------
    HeschlError: gradio is missing, or the port is taken.
    """
    made = page(models)
    try:
        return made.queue(default_concurrency_limit=4).launch(
            server_name=host,
            server_port=port,
            share=False,
            max_file_size=f"{MEGABYTES}mb",
            ssr_mode=False,
            footer_links=[],
            enable_monitoring=False,
            css=style(),
            head=script(),
            theme=_theme(),
            app_kwargs={"middleware": [_closed()]},
            **options,
        )
    except OSError as error:
        raise HeschlError(
            f"the page cannot be served at {host}:{port or 7860} ({error}): name another --port"
        ) from None


def page(models: Mapping[str, Model]) -> Any:
    """The page as gradio Blocks, not yet served."""
    gr, folder = _gradio(), tempfile.TemporaryDirectory(prefix="heschl-app-")
    first = next(iter(models.values()))
    with gr.Blocks(title="Speak to a network", analytics_enabled=False, delete_cache=(600, 7200)) as made:
        state = gr.State(None, time_to_live=7200)
        gr.Markdown(HELLO)
        with gr.Row(elem_id="both"):
            with gr.Column(scale=1, min_width=300):
                audio = gr.Audio(
                    sources=["upload", "microphone"],
                    type="filepath",
                    label="Your recording",
                    elem_id="given",
                    buttons=["download"],
                )
                examples = _examples(gr, first, Path(folder.name))
                model = gr.Dropdown(list(models), value=first.name, label="Network", elem_id="model")
                with gr.Accordion("Explain something else", open=False):
                    target = gr.Dropdown([OWN, *first.labels], value=OWN, label="Explain", elem_id="target")
                    method = gr.Dropdown(
                        list(METHODS), value=next(iter(METHODS)), label="Method", elem_id="method"
                    )
                ask = gr.Button("Ask the network", variant="primary", elem_id="ask")
            with gr.Column(scale=2, min_width=320):
                said = gr.HTML(elem_id="said")
                picture = gr.HTML(elem_id="picture")
                with gr.Column(visible=False, elem_id="hide") as hiding:
                    hidden = gr.HTML(elem_id="hidden")
                    with gr.Accordion("Hide a part by numbers", open=False):
                        with gr.Row():
                            start = gr.Slider(0, 1, 0, step=0.01, label="from, seconds", elem_id="start")
                            stop = gr.Slider(0, 1, 0, step=0.01, label="to, seconds", elem_id="stop")
                        with gr.Row():
                            low = gr.Slider(0, 8000, 0, step=50, label="from, Hz", elem_id="low")
                            high = gr.Slider(0, 8000, 8000, step=50, label="to, Hz", elem_id="high")
                brush = gr.Textbox(visible="hidden", elem_id="brush", label="what the brush hides")
                sounds = gr.HTML(elem_id="sounds")
        brain = gr.Button("Show its course through the brain", visible=False, elem_id="to-brain")
        course = gr.HTML(elem_id="course")

        sliders, choice = [start, stop, low, high], [model, method, target]
        shown = [said, picture, sounds, state, hiding, *sliders, brain, hidden, course]
        answer = _answer(gr, models)
        quiet: dict[str, Any] = {"api_visibility": "private"}
        gr.on(
            [ask.click, audio.upload, audio.stop_recording, method.input, target.input],
            answer,
            [audio, *choice],
            shown,
            **quiet,
        )
        model.input(
            lambda name: gr.Dropdown([OWN, *models[name].labels], value=OWN), model, target, **quiet
        ).then(answer, [audio, *choice], shown, **quiet)
        for button, file in examples:
            button.click(lambda file=file: file, None, audio, **quiet).then(
                answer, [audio, *choice], shown, **quiet
            )
        live: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden", **quiet}
        asked = [state, *sliders, model, method]
        gr.on([slider.input for slider in sliders], _hide(gr, models), asked, hidden, **live)
        brush.change(_brush(gr, models), [brush, state, model, method], [*sliders, hidden], **live)
        brain.click(_course(models), [state, model], course, **quiet)
    made.examples_folder = folder  # it goes when the page goes
    return made


# --- what happens ------------------------------------------------------------------------------------------


def _answer(gr: Any, models: Mapping[str, Model]) -> Callable[..., list[Any]]:
    def answer(path: str | None, model: str, method: str, target: str) -> list[Any]:
        try:
            chosen = _chosen(models, model)
            found = answering.understand(chosen, answering.accept(path), method, target)
        except HeschlError as error:
            off = gr.update(visible=False)
            return [trouble(error), "", "", None, off, *[gr.update()] * 4, off, "", ""]
        shown, seconds = gr.update(visible=True), round(len(found.wave) / found.rate, 2)
        rows = found.picture.frequencies
        highest = (
            8000 if rows is None else round(float(rows[-1]) + 50)
        )  # a little beyond the middle of the last row
        sliders = [
            gr.Slider(maximum=seconds, value=0),
            gr.Slider(maximum=seconds, value=0),
            gr.Slider(maximum=highest, value=0),
            gr.Slider(maximum=highest, value=highest),
        ]
        picture = seen(found, "p", f"what speaks for {_of(found)}, and what against", brush=True)
        return [bars(found, chosen), picture, heard(found), found, shown, *sliders, shown, HINT, ""]

    return answer


def _hide(gr: Any, models: Mapping[str, Model]) -> Callable[..., Any]:
    def hide(
        found: Understood | None, start: float, stop: float, low: float, high: float, model: str, method: str
    ) -> Any:
        part = Hidden(start, stop, low, high)
        if found is None or part.empty:
            return gr.update()
        try:
            after = answering.hide(_chosen(models, model), found, part, method)
        except HeschlError as error:
            return trouble(error)
        return changed(found, after) + seen(
            after, "h", f"what speaks for {_of(after)} with a part hidden", part
        )

    return hide


def _brush(gr: Any, models: Mapping[str, Model]) -> Callable[..., Any]:
    """What the brush on the picture says: "start stop low high", and "live" while it is still moving."""

    def brush(told: str, found: Understood | None, model: str, method: str) -> list[Any]:
        numbers = told.split()[:4]
        same = [gr.update()] * 4
        if found is None or len(numbers) < 4:
            return [*same, gr.update()]
        try:
            part = Hidden(*map(float, numbers))
            chosen = _chosen(models, model)
            if part.empty:
                return [gr.update(value=0), gr.update(value=0), *same[:2], HINT]
            if told.endswith("live"):
                return [*same, answers_now(found, answering.peek(chosen, found, part))]
            after = answering.hide(chosen, found, part, method)
        except (HeschlError, ValueError) as error:
            return [*same, trouble(HeschlError(str(error)))]
        shown = changed(found, after) + seen(
            after, "h", f"what speaks for {_of(after)} with a part hidden", part
        )
        return [*(gr.update(value=value) for value in part), shown]

    return brush


def _course(models: Mapping[str, Model]) -> Callable[..., str]:
    def course(found: Understood | None, model: str) -> str:
        if found is None:
            return trouble(HeschlError("There is no recording yet: speak, or drop a file."))
        try:
            figure = answering.course(_chosen(models, model), found)
        except HeschlError as error:
            return trouble(error)
        words = (
            "Illustrative: a table puts this network’s layers at these areas; no recording of a brain does. "
            "The time is the network’s, not a brain’s latency."
        )
        return f'<p class="doubt">{words}</p>' + svg(
            figure, "b", "where the network’s layers are active, over time", "brain"
        )

    return course


def _of(found: Understood) -> str:
    return "its answers" if found.of == "predicted" else f"“{found.of}”"


def _chosen(models: Mapping[str, Model], name: str) -> Model:
    if name not in models:  # asked past the page
        raise HeschlError(f"There is no network “{name}” here.")
    return models[name]


# --- around it ---------------------------------------------------------------------------------------------


def _examples(gr: Any, model: Model, folder: Path) -> list[tuple[Any, str]]:
    """Buttons that give a recording of the model's corpus, where it is there."""
    files, words = example_files(model, folder), "Or one of these, which it has not been trained on:"
    if not files:
        files, words = spoken_files(model, folder), "Or one of these, which a machine says:"
    if not files:
        return []
    gr.Markdown(words)
    with gr.Row():
        return [(gr.Button(label, size="sm", min_width=60), str(file)) for label, file in files]


def example_files(model: Model, folder: Path, n: int = 4) -> list[tuple[str, Path]]:
    """A few recordings of the test part with their labels, as files in a folder that the page may send."""
    try:
        corpus = model.run.corpus()
    except HeschlError:
        return []
    label = str(model.run.recipe.task.args.get("label", ""))
    held = [clip for one in model.run.split.test if (clip := corpus.by_id.get(one)) and clip.form == "wave"]
    return _written(((clip.labels.get(label, ""), clip) for clip in held), folder, n)


def spoken_files(model: Model, folder: Path, n: int = 4) -> list[tuple[str, Path]]:
    """The same from the speech that comes along, synthetic, of labels that the network knows."""
    from heschl.corpora.spoken import read

    label = str(model.run.recipe.task.args.get("label", ""))
    kind = "sentence" if model.network.frames else "word"
    clips = [clip for clip in read().clips if clip.labels["kind"] == kind]
    if not model.network.frames:
        clips = [clip for clip in clips if clip.labels.get(label) in model.labels]
    return _written(((clip.labels.get(label, ""), clip) for clip in clips), folder, n)


def _written(clips: Iterable[tuple[str, Clip]], folder: Path, n: int) -> list[tuple[str, Path]]:
    """A few clips of different labels as files, evenly over the labels."""
    from heschl.files import read_audio, write_wav

    found: dict[str, Clip] = {}
    for said, clip in clips:
        found.setdefault(f"“{said}”" if said else f"recording {len(found) + 1}", clip)
    labels = [*found]
    chosen = [labels[round(k)] for k in np.linspace(0, len(labels) - 1, min(n, len(labels)))]
    files = []
    for k, name in enumerate(chosen):
        try:
            wave, rate = read_audio(found[name].signal, found[name].start, found[name].stop)
        except HeschlError:
            continue
        file = folder / f"example-{k + 1}.wav"
        write_wav(file, wave, rate)
        files.append((name, file))
    return files


def _gradio() -> Any:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = (
        "False"  # before gradio is imported: it asks for its version else
    )
    try:
        import gradio
    except ImportError:
        raise HeschlError("the page needs gradio: pip install 'heschl[app]'") from None
    return gradio


def _theme() -> Any:
    from heschl.figures.style import BLUE

    gr = _gradio()
    sans, mono = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")
    made = gr.themes.Base(primary_hue="blue", neutral_hue="neutral", font=sans, font_mono=mono)
    ours = {
        f"button_primary_background_fill{which}": BLUE for which in ("", "_hover", "_dark", "_hover_dark")
    }
    return made.set(**ours)


def _closed() -> Any:
    """Middleware that tells the browser to ask nobody else."""
    from starlette.middleware import Middleware

    return Middleware(_Policy)


class _Policy:
    """ASGI: adds the content-security policy to every answer."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", []).extend(
                    [
                        (b"content-security-policy", POLICY.encode()),
                        (b"referrer-policy", b"no-referrer"),
                    ]
                )
            await send(message)

        await self.app(scope, receive, told)
