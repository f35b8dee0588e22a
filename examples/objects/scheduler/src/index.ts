// Jobs at their time: POST /NAME?in=MS with the job as the body, GET /NAME for what is waiting and what is done.
import { DurableObject } from "cloudflare:workers";

interface Env {
  SCHEDULERS: DurableObjectNamespace<Scheduler>;
}

type Job = { id: number; due: number; payload: string; done: number | null };

export class Scheduler extends DurableObject<Env> {
  #sql = this.ctx.storage.sql;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#sql.exec(
      `CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY, due INTEGER NOT NULL, payload TEXT NOT NULL, done INTEGER);
       CREATE INDEX IF NOT EXISTS jobs_due ON jobs (due) WHERE done IS NULL;`,
    );
  }

  async add(payload: string, inMs: number): Promise<number> {
    const { id } = this.#sql
      .exec("INSERT INTO jobs (due, payload) VALUES (?, ?) RETURNING id", Date.now() + inMs, payload)
      .one();
    await this.#arm();
    return id as number;
  }

  list(): Job[] {
    return this.#sql.exec("SELECT id, due, payload, done FROM jobs ORDER BY due, id").toArray() as Job[];
  }

  /** At least once: a job is done when that is written down. */
  async alarm(): Promise<void> {
    const now = Date.now();
    for (const job of this.#sql.exec("SELECT id, payload FROM jobs WHERE done IS NULL AND due <= ? ORDER BY due", now).toArray()) {
      console.log(`job ${job.id}: ${job.payload}`);
      this.#sql.exec("UPDATE jobs SET done = ? WHERE id = ?", now, job.id);
    }
    await this.#arm();
  }

  async #arm(): Promise<void> {
    const [next] = this.#sql.exec("SELECT min(due) AS due FROM jobs WHERE done IS NULL").toArray();
    if (typeof next?.due === "number") {
      await this.ctx.storage.setAlarm(next.due);
    }
  }
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const url = new URL(request.url);
    const scheduler = env.SCHEDULERS.getByName(url.pathname);
    if (request.method === "POST") {
      const id = await scheduler.add(await request.text(), Number(url.searchParams.get("in") ?? 0));
      return Response.json({ id }, { status: 201 });
    }
    return Response.json(await scheduler.list());
  },
};
