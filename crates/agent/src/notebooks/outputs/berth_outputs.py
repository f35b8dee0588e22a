"""What cells put out while no page of their notebook looks.

A page that comes gets it (`GET api/berth/outputs/KERNEL`), and says when it has it (`DELETE`). What no page has had when
JupyterLab ends is written into the notebook's file.
"""

import asyncio
import json
from itertools import count

from jupyter_client.session import Session
from jupyter_core.utils import ensure_async
from jupyter_server.base.handlers import APIHandler
from jupyter_server.extension.application import ExtensionApp
from jupyter_server.services.kernels.connection.base import (
    deserialize_binary_message,
    deserialize_msg_from_ws_v1,
)
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from tornado import web
from traitlets.config import Config

MAX_RUNS = 1000  # of cells, for each kernel
MAX_RUN_BYTES = 8 * 1024 * 1024
MAX_KERNEL_BYTES = 64 * 1024 * 1024
TOO_MUCH = "\n[what came after this while no page was open is not kept: it was too much]\n"
LONGEST_WAIT_S = 20
WRITE_LIMIT_S = 3
V1 = "v1.kernel.websocket.jupyter.org"

versions = count(1)


class Run:
    """One execution of a cell."""

    def __init__(self, cell, session):
        self.cell = cell
        self.session = session
        self.is_over = False
        # Its page went while it ran: what it puts out has nobody else to go to.
        self.is_alone = False
        self.execution_count = None
        self.outputs = []
        self.display_ids = {}
        self.clears_next = False
        self.size = 0
        self.version = next(versions)

    def describe(self, run):
        outputs = [
            {**output, "text": "".join(output["text"])} if output["output_type"] == "stream" else output
            for output in self.outputs
        ]
        return {
            "run": run,
            "cell": self.cell,
            "over": self.is_over,
            "execution_count": self.execution_count,
            "outputs": outputs,
            "version": self.version,
        }

    def clear(self):
        self.outputs, self.display_ids, self.size, self.clears_next = [], {}, 0, False

    def add(self, output):
        if self.clears_next:
            self.clear()
        if output["output_type"] == "stream":
            last = self.outputs[-1] if self.outputs else None
            if last and last["output_type"] == "stream" and last["name"] == output["name"]:
                last["text"].append(output["text"])
            else:
                self.outputs.append({**output, "text": [output["text"]]})
        else:
            self.outputs.append(output)


def output_of(kind, content):
    """As a notebook's file has it; None if it is no output."""
    if kind == "stream":
        return {"output_type": kind, "name": content["name"], "text": content["text"]}
    if kind == "display_data":
        return {"output_type": kind, "data": content["data"], "metadata": content["metadata"]}
    if kind == "execute_result":
        shown = {"data": content["data"], "metadata": content["metadata"]}
        return {"output_type": kind, **shown, "execution_count": content["execution_count"]}
    if kind == "error":
        return {"output_type": kind, **{part: content[part] for part in ("ename", "evalue", "traceback")}}
    return None


class Kernel:
    """Follows what one kernel says."""

    def __init__(self, manager):
        self.manager = manager
        self.runs = {}
        self.changed = asyncio.Event()
        self.stream = None
        self.port = None
        self.follow()

    def follow(self):
        """Listens; anew if the kernel was started again elsewhere."""
        if self.port == self.manager.iopub_port and not self.stream.closed():
            return
        self.close()
        self.port = self.manager.iopub_port
        self.session = Session(config=self.manager.session.config, key=self.manager.session.key)
        self.stream = self.manager.connect_iopub()
        self.stream.on_recv(self.hear)

    def close(self):
        if self.stream is not None and not self.stream.closed():
            self.stream.close()

    def change(self, run):
        run.version = next(versions)
        self.changed.set()
        self.changed = asyncio.Event()

    def alone(self):
        return {run: what for run, what in self.runs.items() if what.is_alone}

    def version(self):
        return max((run.version for run in self.alone().values()), default=0)

    def asked(self, run, cell, session):
        """A page has a cell run."""
        for other in [other for other, what in self.runs.items() if what.cell == cell]:
            del self.runs[other]
        if len(self.runs) < MAX_RUNS:
            self.runs[run] = Run(cell, session)

    def left(self, session):
        """A page has gone."""
        for run in self.runs.values():
            if run.session == session and not run.is_over:
                run.is_alone = True
                self.change(run)

    def returned(self, session):
        """A page that had lost its connection is back: it gets what it missed from jupyter_server."""
        for name in [name for name, run in self.runs.items() if run.session == session]:
            self.runs[name].is_alone = False
            self.drop_if_told(name)

    def drop_if_told(self, name):
        if self.runs[name].is_over and not self.runs[name].is_alone:
            del self.runs[name]

    def hear(self, parts):
        _, parts = self.session.feed_identities(parts)
        message = self.session.deserialize(parts)
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "status" and content["execution_state"] in ("starting", "restarting"):
            for name in list(self.runs):
                self.end(name)
            return
        name = message["parent_header"].get("msg_id")
        if name not in self.runs:
            return
        run = self.runs[name]
        if kind == "status" and content["execution_state"] == "idle":
            self.end(name)
        elif kind == "execute_input":
            run.execution_count = content["execution_count"]
        elif kind == "clear_output":
            if content.get("wait"):
                run.clears_next = True
            else:
                run.clear()
                self.change(run)
        elif kind == "update_display_data":
            self.update(content, len(parts[-1]))
        else:
            self.put(run, kind, content, sum(map(len, parts)))

    def end(self, name):
        run = self.runs[name]
        run.is_over = True
        self.change(run)
        self.drop_if_told(name)

    def fits(self, run, size):
        kept = sum(run.size for run in self.runs.values())
        return run.size + size <= MAX_RUN_BYTES and kept + size <= MAX_KERNEL_BYTES

    def put(self, run, kind, content, size):
        output = output_of(kind, content)
        if output is None or run.size > MAX_RUN_BYTES:
            return
        if self.fits(run, size):
            run.size += size
        else:
            run.size = MAX_RUN_BYTES + 1
            output = {"output_type": "stream", "name": "stderr", "text": TOO_MUCH}
        run.add(output)
        display = content.get("transient", {}).get("display_id") if output["output_type"] != "stream" else None
        if display is not None:
            run.display_ids.setdefault(display, []).append(output)
        self.change(run)

    def update(self, content, size):
        display = content.get("transient", {}).get("display_id")
        for run in self.runs.values():
            for output in run.display_ids.get(display, []):
                if self.fits(run, size):
                    run.size += size
                    output["data"], output["metadata"] = content["data"], content["metadata"]
                    self.change(run)


class Kernels:
    """All that have had a cell run."""

    def __init__(self, server):
        self.server = server
        self.known = {}

    def of(self, kernel):
        return self.known.get(kernel)

    def follow(self, kernel, manager):
        for gone in [known for known in self.known if known not in self.server.kernel_manager]:
            self.known.pop(gone).close()
        known = self.known.get(kernel)
        if known is None or known.manager is not manager:
            known = self.known[kernel] = Kernel(manager)
        known.follow()
        return known

    async def write(self):
        """Puts what no page has had into the notebooks' files."""
        waiting = {kernel: known.alone() for kernel, known in self.known.items() if known.alone()}
        if not waiting:
            return
        for session in await ensure_async(self.server.session_manager.list_sessions()):
            runs = waiting.get(session["kernel"]["id"])
            if runs and session["type"] == "notebook":
                await self.write_into(session["path"], {run.cell: run for run in runs.values()})

    async def write_into(self, path, runs):
        contents = self.server.contents_manager
        model = await ensure_async(contents.get(path, content=True, type="notebook"))
        for cell in model["content"]["cells"]:
            run = runs.get(cell.get("id"))
            if run is not None and cell["cell_type"] == "code":
                shown = run.describe("")
                cell["outputs"], cell["execution_count"] = shown["outputs"], shown["execution_count"]
        saved = {"type": "notebook", "format": "json", "content": model["content"]}
        await ensure_async(contents.save(saved, path))


class Connection(ZMQChannelsWebsocketConnection):
    """A page's connection to a kernel: notes which cell each request is of."""

    @property
    def kernels(self):
        return self.websocket_handler.settings["berth_outputs"]

    def connect(self):
        known = self.kernels.of(self.kernel_id)
        if known is not None:
            known.returned(self.session_id)
        return super().connect()

    def disconnect(self):
        known = self.kernels.of(self.kernel_id)
        if known is not None:
            known.left(self.session_id)
        super().disconnect()

    def handle_incoming_message(self, incoming_msg):
        try:
            self.note(incoming_msg)
        except Exception:
            # Whatever it is, the kernel gets it.
            self.log.exception("cannot tell which cell is run")
        super().handle_incoming_message(incoming_msg)

    def note(self, message):
        if self.subprotocol == V1:
            channel, parts = deserialize_msg_from_ws_v1(message)
            if channel != "shell" or b"execute_request" not in parts[0]:
                return
            header, metadata = json.loads(parts[0]), json.loads(parts[2])
        else:
            whole = deserialize_binary_message(message) if isinstance(message, bytes) else json.loads(message)
            header, metadata = whole["header"], whole.get("metadata", {})
        cell = metadata.get("cellId")
        if header["msg_type"] == "execute_request" and isinstance(cell, str):
            known = self.kernels.follow(self.kernel_id, self.kernel_manager)
            known.asked(header["msg_id"], cell, self.session_id)


class OutputsHandler(APIHandler):
    auth_resource = "kernels"

    @property
    def kernels(self):
        return self.settings["berth_outputs"]

    @web.authenticated
    async def get(self, kernel):
        """What no page has had; waits for something new where `known` is all there is."""
        known = self.kernels.of(kernel)
        if known is None:
            self.finish({"version": 0, "runs": []})
            return
        if known.alone() and self.get_query_argument("known", "") == str(known.version()):
            try:
                await asyncio.wait_for(known.changed.wait(), LONGEST_WAIT_S)
            except asyncio.TimeoutError:
                pass
        runs = [what.describe(run) for run, what in known.alone().items()]
        self.finish({"version": known.version(), "runs": runs})

    @web.authenticated
    async def delete(self, kernel):
        """A page has these, and has saved them."""
        known = self.kernels.of(kernel)
        for run in self.get_json_body()["runs"]:
            if known is not None and run in known.runs and known.runs[run].is_over:
                del known.runs[run]
        self.set_status(204)
        self.finish()


class OutputsApp(ExtensionApp):
    name = "berth_outputs"
    handlers = [(r"/api/berth/outputs/([\w-]+)", OutputsHandler)]

    def _link_jupyter_server_extension(self, server_app):
        server_app.update_config(Config({"ServerApp": {"kernel_websocket_connection_class": Connection}}))
        super()._link_jupyter_server_extension(server_app)

    def initialize_settings(self):
        self.settings["berth_outputs"] = self.kernels = Kernels(self.serverapp)

    async def stop_extension(self):
        try:
            await asyncio.wait_for(self.kernels.write(), WRITE_LIMIT_S)
        except Exception:
            # The rest has to end in good order too.
            self.log.exception("what cells put out while no page was open could not be written")


def _jupyter_server_extension_points():
    return [{"module": "berth_outputs", "app": OutputsApp}]
