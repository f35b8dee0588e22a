// A document of lines, with its history and a search. PUT /NAME/LINE writes a line, GET /NAME reads all,
// GET /NAME?find=WORD searches, GET /NAME?version=N shows what was changed, POST /NAME/undo takes the last change back.
import { DurableObject } from "cloudflare:workers";
import schema from "./schema.sql";

export class Document extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    this.sql.exec(schema);
  }

  write(at, text) {
    return this.ctx.storage.transactionSync(() => {
      const [old] = this.sql.exec("SELECT text FROM lines WHERE at = ?", at).toArray();
      this.#set(at, text);
      const { version } = this.sql
        .exec("INSERT INTO edits (at, before, after) VALUES (?, ?, ?) RETURNING version", at, old?.text ?? null, text)
        .one();
      return version;
    });
  }

  undo() {
    return this.ctx.storage.transactionSync(() => {
      const [last] = this.sql.exec("SELECT * FROM edits ORDER BY version DESC LIMIT 1").toArray();
      if (!last) {
        throw new RangeError("nothing to take back");
      }
      this.#set(last.at, last.before);
      this.sql.exec("DELETE FROM edits WHERE version = ?", last.version);
      return last.version - 1;
    });
  }

  read() {
    return this.sql.exec("SELECT text FROM lines ORDER BY at").raw().toArray().map(([text]) => text);
  }

  find(word) {
    return this.sql.exec("SELECT rowid AS line, text FROM words WHERE words MATCH ? ORDER BY rank", word).toArray();
  }

  edit(version) {
    return this.sql.exec("SELECT * FROM edits WHERE version = ?", version).toArray()[0] ?? null;
  }

  #set(at, text) {
    this.sql.exec("DELETE FROM lines WHERE at = ?", at);
    this.sql.exec("DELETE FROM words WHERE rowid = ?", at);
    if (text !== null) {
      this.sql.exec("INSERT INTO lines (at, text) VALUES (?, ?)", at, text);
      this.sql.exec("INSERT INTO words (rowid, text) VALUES (?, ?)", at, text);
    }
  }
}

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const [, name, what] = url.pathname.split("/");
    const document = env.DOCUMENTS.getByName(name);
    try {
      switch (request.method) {
        case "PUT":
          return Response.json({ version: await document.write(Number(what), await request.text()) });
        case "POST":
          return Response.json({ version: await document.undo() });
        default: {
          const { searchParams } = url;
          if (searchParams.has("find")) return Response.json(await document.find(searchParams.get("find")));
          if (searchParams.has("version")) return Response.json(await document.edit(Number(searchParams.get("version"))));
          return Response.json(await document.read());
        }
      }
    } catch (error) {
      return Response.json({ error: error.message }, { status: error instanceof RangeError ? 409 : 500 });
    }
  },
};
