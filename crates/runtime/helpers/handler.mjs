// Runs handler(event, context) from a module and hands its result back on descriptor 3.
//
// argv: node, this file, the module's file, the event's file, and a JSON object for the context.
// What is handed back is one JSON object: {"value": ...} or {"error": {"name", "message", "stack"}}.
import { closeSync, readFileSync, writeSync } from "node:fs";
import { pathToFileURL } from "node:url";

const RESULT_FD = 3;
const [code, eventFile, facts] = [process.argv[2], process.argv[3], JSON.parse(process.argv[4])];
process.argv.splice(1, process.argv.length, code);

const end = performance.now() + facts.timeout_ms;
const log = (level) => (...words) => console.error(level, ...words);
const context = {
  executionId: facts.execution_id,
  memoryLimitBytes: facts.memory_limit_bytes,
  memoryLimitInMB: Math.floor(facts.memory_limit_bytes / (1024 * 1024)),
  timeoutMs: facts.timeout_ms,
  deadlineMs: Date.now() + facts.timeout_ms,
  logger: { debug: log("DEBUG"), info: log("INFO"), warn: log("WARNING"), error: log("ERROR") },
  remainingTimeMs: () => Math.max(0, Math.floor(end - performance.now())),
  // The name that handlers written for other platforms call.
  getRemainingTimeInMillis: () => context.remainingTimeMs(),
};

function encode(outcome) {
  if ("error" in outcome) {
    return Buffer.from(JSON.stringify(outcome), "utf8");
  }
  // A result of undefined is null: a handler that returns nothing has a result all the same.
  const text = JSON.stringify(outcome.value ?? null);
  if (text === undefined) {
    throw new TypeError(`a ${typeof outcome.value} has no JSON`);
  }
  return Buffer.from(`{"value":${text}}`, "utf8");
}

function handBack(outcome) {
  let data;
  try {
    data = encode(outcome);
  } catch (error) {
    outcome = { error: { name: "ResultNotJson", message: `the handler's result is not JSON: ${error.message}`, stack: "" } };
    data = encode(outcome);
  }
  for (let written = 0; written < data.length; ) {
    written += writeSync(RESULT_FD, data, written);
  }
  closeSync(RESULT_FD);
  // Not exit(): output that is still on its way is written first.
  process.exitCode = "error" in outcome ? 1 : 0;
}

// Of a message or a trace; what is longer helps nobody, and the whole result has 8 MiB.
const LONGEST_TEXT = 200_000;

// Without halves of surrogate pairs, which no UTF-8 has.
const whole = (text) => Buffer.from(String(text).slice(0, LONGEST_TEXT), "utf8").toString("utf8");

function failure(error) {
  try {
    const known = error instanceof Error ? error : new Error(String(error));
    const stack = String(known.stack ?? known);
    console.error(stack);
    return { error: { name: whole(known.name), message: whole(known.message), stack: whole(stack) } };
  } catch {
    // Its own properties throw.
    return { error: { name: "Error", message: "an error that cannot be shown as text", stack: "" } };
  }
}

async function load() {
  const module = await import(pathToFileURL(code));
  const found = module.handler ?? module.default?.handler ?? module.default;
  if (typeof found !== "function") {
    throw new ReferenceError("the code defines no function handler(event, context)");
  }
  return found;
}

let outcome;
try {
  const event = JSON.parse(readFileSync(eventFile, "utf8"));
  outcome = { value: await (await load())(event, context) };
} catch (error) {
  outcome = failure(error);
}
handBack(outcome);
