"""The cortex to be turned in a browser: one element of a page, a few hundred kilobytes, nothing fetched from anywhere.

Corners, colours and each area's share of every corner travel once; what is shown at a moment is the shares times the
areas' values then. The page's own script draws it (WebGL), as `heschl.figures.cortex` does: lit from the upper left.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from heschl.figures.brain import FADED, Drawn, area_hues, sequential
from heschl.figures.cortex import GYRUS, SULCUS, corner_normals, spread
from heschl.figures.style import short

Array = np.ndarray[Any, np.dtype[Any]]

APART = 0.006  # m between the hemispheres
RIBBON = 0.0007  # m: half the width of an outline
ABOVE = 0.0006  # m that outlines float over the cortex
SPOTS = 40  # corners of an area that its name asks for a place


def surface_element(
    drawn: Drawn, areas: Mapping[str, Array], courses: Mapping[str, Array], times: Array, unit: str
) -> str:
    """An element and its script, for a page of one's own.

    Parameters
    ----------
    areas: name -> indices of its sources, left then right. courses: name -> (time,) value at each of its sources.
    times: (time,) seconds of network time; the page tells the moment by an event: dispatchEvent(new
        CustomEvent("network-time", {detail: index})).
    unit: of the values.
    """
    points, normals, colours, faces, shares = _mesh(drawn, areas)
    scale = float(np.abs(points).max())
    limit = max(float(np.abs(np.asarray(one)).max()) for one in courses.values()) or 1.0
    spots = [_spots(points / scale, normals, share) for share in shares]
    held = {
        "points": _packed(np.round(points / scale * 32767), np.int16),
        "normals": _packed(np.round(normals * 127), np.int8),
        "colours": _packed(np.round(colours * 255), np.uint8),
        "faces": _packed(faces, np.uint16),
        "shares": [_packed(np.round(255 * np.clip(share, 0, 1)), np.uint8) for share in shares],
        "names": list(areas),
        "spots": spots,
        "values": [(np.abs(np.asarray(courses[name])) / limit).round(3).tolist() for name in areas],
        "map": _packed(np.round(255 * np.asarray(sequential()(np.linspace(0, 1, 64)))[:, :3]), np.uint8),
        "faded": FADED,
        "times": np.asarray(times).round(4).tolist(),
        "first": strongest(courses),
        "said": f"{short(limit)} {unit}",
    }
    told = json.dumps(held, separators=(",", ":")).replace("<", "\\u003c")  # an area may be called anything
    return f"{_ELEMENT}<script>({_SCRIPT.strip()})({told})</script>"


def strongest(courses: Mapping[str, Array]) -> int:
    """The moment at which most is going on: where the cortex begins."""
    return int(sum(np.square(np.asarray(one, float)) for one in courses.values()).argmax())


def _spots(points: Array, normals: Array, share: Array) -> list[list[float]]:
    """Some of an area's corners and where they face, [x, y, z, nx, ny, nz]: its name stands over those that are seen."""
    within = np.flatnonzero(share > 0.5)
    some = within[np.linspace(0, len(within) - 1, min(SPOTS, len(within))).astype(int)]
    return np.concatenate([points[some], normals[some]], 1).round(3).tolist()  # type: ignore[no-any-return]


def surface_page(element: str, title: str, caveat: str, n: int, first: int = 0) -> str:
    """A page that holds the element alone, with a slider over its n moments, which begins at ``first``."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_escape(title)}</title><style>{_STYLE}</style></head><body><main><h1>{_escape(title)}</h1>"
        f'{element}<p><input type="range" min="0" max="{n - 1}" value="{first}" aria-label="network time" '
        "oninput=\"dispatchEvent(new CustomEvent('network-time',{detail:+this.value}))\"></p>"
        f'<p class="caveat">{_escape(caveat)}</p></main></body></html>\n'
    )


def _mesh(drawn: Drawn, areas: Mapping[str, Array]) -> tuple[Array, Array, Array, Array, list[Array]]:
    """Corners of both hemispheres side by side, then those of the outlines; shares are of the hemispheres' corners."""
    parts, normals, colours, faces = [], [], [], []
    n_left, before = len(drawn.left.sources), 0
    shares = [np.zeros(0) for _ in areas]
    ribbons: list[tuple[Array, Array, str]] = []
    hues = area_hues(areas)
    for side, sign, half in (("left", -1, drawn.left), ("right", 1, drawn.right)):
        points = half.points - half.points.mean(0)
        inner = float((sign * points[:, 0]).min())
        points = points + np.array([sign * (APART / 2 - inner), 0, 0])
        own = corner_normals(points, half.faces)
        parts.append(points)
        normals.append(own)
        colours.append(GYRUS + (SULCUS - GYRUS) * half.sulci[:, None])
        faces.append(half.faces + before)
        before += len(points)
        for k, (name, sources) in enumerate(areas.items()):
            mask = np.zeros(len(half.sources))
            within = sources < n_left
            mask[sources[within] if side == "left" else sources[~within] - n_left] = 1
            share = spread(mask, half.sources, half.faces, len(points))
            shares[k] = np.concatenate([shares[k], share])
            ribbons += [(*made, hues[name]) for made in _outline(points, own, half.faces, share)]
    for corners, up, hue in ribbons:
        parts.append(corners)
        normals.append(up)
        rgb = [int(hue[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        colours.append(np.tile(rgb, (len(corners), 1)))
        first = before + 4 * np.arange(len(corners) // 4)[:, None]
        faces += [first + np.array([0, 1, 2]), first + np.array([2, 1, 3])]
        before += len(corners)
    return (
        np.concatenate(parts),
        np.concatenate(normals),
        np.concatenate(colours),
        np.concatenate(faces).ravel(),
        shares,
    )


def _outline(points: Array, normals: Array, faces: Array, share: Array) -> list[tuple[Array, Array]]:
    """Where a share crosses one half, as ribbons: corners (4 a piece, 3) and their normals; at most one entry."""
    high = share[faces] > 0.5
    crossed = faces[high.any(1) & ~high.all(1)]
    if not len(crossed):
        return []
    high = share[crossed] > 0.5
    # the corner that stands alone first, so that both crossed edges leave from it
    alone = np.where(high.sum(1) == 1, high.argmax(1), (~high).argmax(1))
    turned = np.stack([crossed[np.arange(len(crossed)), (alone + k) % 3] for k in range(3)], 1)
    ends, ups = [], []
    for k in (1, 2):
        a, b = share[turned[:, 0]], share[turned[:, k]]
        t = ((0.5 - a) / (b - a))[:, None]
        ends.append(points[turned[:, 0]] * (1 - t) + points[turned[:, k]] * t)
        ups.append(normals[turned[:, 0]] * (1 - t) + normals[turned[:, k]] * t)
    along = ends[1] - ends[0]
    length = np.linalg.norm(along, axis=1, keepdims=True) + 1e-12
    up = ups[0] + ups[1]
    up /= np.linalg.norm(up, axis=1, keepdims=True) + 1e-12
    across = np.cross(along / length, up) * RIBBON
    over = up * ABOVE
    longer = along / length * RIBBON * 0.5  # so that pieces overlap
    corners = np.stack(
        [
            ends[0] - longer - across,
            ends[0] - longer + across,
            ends[1] + longer - across,
            ends[1] + longer + across,
        ],
        1,
    )
    return [((corners + over[:, None]).reshape(-1, 3), np.repeat(up, 4, 0))]


def _packed(values: Array, kind: Any) -> str:
    return base64.b64encode(
        np.ascontiguousarray(values, dtype=np.dtype(kind).newbyteorder("<")).tobytes()
    ).decode()


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


_STYLE = """
:root{color-scheme:light dark;--ink:#1b1c1e;--soft:#66686c;--paper:#fefefd;--orange:#e69f00;--blue:#0072b2}
@media(prefers-color-scheme:dark){:root{--ink:#e9e8e4;--soft:#a3a5a8;--paper:#141517;--orange:#f0b43c;--blue:#4aa8e0}}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:720px;margin:0 auto;padding:24px 20px}h1{font-size:22px}input{width:100%;accent-color:var(--blue)}
.caveat{border-left:3px solid var(--orange);padding-left:14px}
"""

_ELEMENT = """<div class="turn" style="position:relative;max-width:720px">
<canvas tabindex="0" role="img" aria-label="the cortex with its areas; drag, or use the arrow keys, to turn it"
 style="width:100%;aspect-ratio:3/2;display:block;touch-action:pan-y;cursor:grab"></canvas>
<p class="told" style="color:var(--soft);font-size:14px;margin:6px 0"></p>
<p class="scale" style="color:var(--soft);font-size:14px;margin:6px 0;display:flex;align-items:center;gap:10px">0
 <i style="flex:0 1 240px;height:10px;border-radius:2px"></i><span></span></p></div>"""

_SCRIPT = r"""function (d) {
  const box = document.currentScript.previousElementSibling, canvas = box.querySelector("canvas");
  const told = box.querySelector(".told"), bar = box.querySelector(".scale"), gl = canvas.getContext("webgl", {antialias: true});
  if (!gl) { bar.remove(); told.textContent = "This browser does not draw in three dimensions (WebGL is off)."; return; }
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const points = new Int16Array(bytes(d.points).buffer), faces = new Uint16Array(bytes(d.faces).buffer);
  const shares = d.shares.map(bytes), n = points.length / 3, heat = new Float32Array(n);
  const map = bytes(d.map), steps = Array.from({length: 64}, (_, k) => "rgb(" + map.slice(3 * k, 3 * k + 3).join() + ")");
  bar.querySelector("i").style.background = "linear-gradient(to right," + steps + ")"; bar.querySelector("span").textContent = d.said;
  const shader = (kind, text) => { const s = gl.createShader(kind); gl.shaderSource(s, text); gl.compileShader(s); return s; };
  const program = gl.createProgram();
  gl.attachShader(program, shader(gl.VERTEX_SHADER, `
    attribute vec3 p, up, rgb; attribute float h; uniform mat3 turn; uniform vec2 size;
    varying vec3 nn, base; varying float hh;
    void main() { vec3 q = turn * p; nn = turn * up; base = rgb; hh = h;
      gl_Position = vec4(q.x * size.x, q.y * size.y, -q.z * 0.5, 1.0); }`));
  gl.attachShader(program, shader(gl.FRAGMENT_SHADER, `
    precision mediump float; varying vec3 nn, base; varying float hh; uniform sampler2D map; uniform float faded;
    void main() { float light = max(0.0, dot(normalize(nn), normalize(vec3(-0.45, 0.60, 0.66))));
      vec3 bare = base * (0.42 + 0.66 * light), lit = texture2D(map, vec2(hh, 0.5)).rgb * (0.62 + 0.46 * light);
      gl_FragColor = vec4(mix(bare, lit, 0.94 * clamp((hh - faded) / 0.15, 0.0, 1.0)), 1.0); }`));
  gl.linkProgram(program); gl.useProgram(program); gl.enable(gl.DEPTH_TEST);
  const give = (name, data, size, kind, whole) => {
    const buffer = gl.createBuffer(), at = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer); gl.bufferData(gl.ARRAY_BUFFER, data, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(at); gl.vertexAttribPointer(at, size, kind, whole, 0, 0); return buffer; };
  const spaced = (data, Kind) => { const out = new Kind(4 * n); for (let k = 0; k < n; k++) for (let j = 0; j < 3; j++) out[4 * k + j] = data[3 * k + j]; return out; };
  give("p", spaced(points, Int16Array), 4, gl.SHORT, true);
  give("up", spaced(new Int8Array(bytes(d.normals).buffer), Int8Array), 4, gl.BYTE, true);
  give("rgb", spaced(bytes(d.colours), Uint8Array), 4, gl.UNSIGNED_BYTE, true);
  const hot = give("h", heat, 1, gl.FLOAT, false);
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer()); gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, faces, gl.STATIC_DRAW);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture()); gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, 64, 1, 0, gl.RGB, gl.UNSIGNED_BYTE, map);
  for (const [what, how] of [[gl.TEXTURE_MIN_FILTER, gl.LINEAR], [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE]]) gl.texParameteri(gl.TEXTURE_2D, what, how);
  gl.uniform1f(gl.getUniformLocation(program, "faded"), d.faded);
  const names = d.names.map((name) => { const e = document.createElement("b"); e.textContent = name;
    e.style.cssText = "position:absolute;transform:translate(-50%,-50%);font-size:14px;pointer-events:none;color:#1b1c1e;text-shadow:0 0 3px #fff,0 0 3px #fff,0 0 4px #fff"; box.appendChild(e); return e; });
  let yaw = -1.15, pitch = 0.12, moment = 0;
  function draw() {
    const wide = canvas.clientWidth, high = canvas.clientHeight, ratio = Math.min(2, window.devicePixelRatio || 1);
    if (!wide) return;
    if (canvas.width !== Math.round(wide * ratio)) { canvas.width = Math.round(wide * ratio); canvas.height = Math.round(high * ratio); }
    gl.viewport(0, 0, canvas.width, canvas.height); gl.clearColor(0, 0, 0, 0); gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    // rows: right, up and towards the eye, of the head's right, front and top; yaw 0 looks from behind
    const c = Math.cos(yaw), s = Math.sin(yaw), e = Math.cos(pitch), f = Math.sin(pitch);
    const rows = [[c, s, 0], [-s * f, c * f, e], [s * e, -c * e, f]];
    gl.uniformMatrix3fv(gl.getUniformLocation(program, "turn"), false, [0, 1, 2].flatMap((j) => rows.map((row) => row[j])));
    const zoom = 1.25, sx = zoom * Math.min(1, high / wide), sy = zoom * Math.min(1, wide / high);
    gl.uniform2f(gl.getUniformLocation(program, "size"), sx, sy);
    gl.drawElements(gl.TRIANGLES, faces.length, gl.UNSIGNED_SHORT, 0);
    const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    names.forEach((e, k) => { // over the middle of what faces the eye, where that is a fifth of the area or more
      const seen = d.spots[k].filter((m) => dot(rows[2], m.slice(3)) > 0.15), mean = (of) => seen.reduce((sum, m) => sum + of(m), 0) / seen.length;
      e.style.display = seen.length >= d.spots[k].length / 5 ? "" : "none";
      e.style.left = (0.5 + 0.5 * sx * mean((m) => dot(rows[0], m))) * wide + "px";
      e.style.top = (0.5 - 0.5 * sy * Math.max(...seen.map((m) => dot(rows[1], m)))) * high - 12 + "px"; });
    told.textContent = Math.round(1000 * d.times[moment]) + " ms of network time. Drag to turn.";
  }
  function show(k) {
    moment = k; heat.fill(0);
    shares.forEach((share, a) => { const v = d.values[a][k] / 255; for (let i = 0; i < share.length; i++) heat[i] += v * share[i]; });
    gl.bindBuffer(gl.ARRAY_BUFFER, hot); gl.bufferSubData(gl.ARRAY_BUFFER, 0, heat); draw();
  }
  let held = null;
  canvas.onpointerdown = (e) => { held = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); };
  canvas.onpointerup = canvas.onpointercancel = () => { held = null; };
  canvas.onpointermove = (e) => { if (!held) return; yaw -= (e.clientX - held[0]) * 0.008;
    pitch = Math.max(-1.5, Math.min(1.5, pitch + (e.clientY - held[1]) * 0.008)); held = [e.clientX, e.clientY]; draw(); };
  canvas.onkeydown = (e) => { const by = {ArrowLeft: [0.15, 0], ArrowRight: [-0.15, 0], ArrowUp: [0, 0.12], ArrowDown: [0, -0.12]}[e.key];
    if (by) { yaw += by[0]; pitch += by[1]; e.preventDefault(); draw(); } };
  addEventListener("network-time", (e) => show(Math.min(e.detail, d.times.length - 1)));
  new ResizeObserver(draw).observe(canvas); show(d.first);
}"""
