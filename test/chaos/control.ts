/**
 * Evaluates Erlang expressions on nodes, as `rabbitmqctl eval` does. One process is enough for all of them: each start of
 * `rabbitmqctl` takes a second of a processor, and half a minute on a busy machine.
 */
import { spawn } from "node:child_process"
import * as readline from "node:readline"
import type { RabbitMQNode } from "../support/rabbitmqNode.ts"

export interface Control {
  /** Evaluates an expression on a node. Returns its value: a binary as it is, anything else as Erlang prints it. */
  readonly evaluate: (node: RabbitMQNode, expression: string) => Promise<string>
  readonly stop: () => Promise<void>
}

/** How long an expression may take. */
const evaluateMillis = 90_000

/** Reads lines of an id, a node and an expression in base64, and writes lines of the id, `ok` or `error`, and the value in base64. */
const loop = `
  Evaluate = fun(Node, Encoded) ->
    try
      {ok, Tokens, _} = erl_scan:string(binary_to_list(base64:decode(Encoded))),
      {ok, Expressions} = erl_parse:parse_exprs(Tokens),
      case rpc:call(list_to_atom(Node), erl_eval, exprs, [Expressions, []], ${evaluateMillis}) of
        {value, Value, _} -> {ok, Value};
        Failure -> {error, Failure}
      end
    catch
      Class:Reason -> {error, {Class, Reason}}
    end
  end,
  Print = fun(Value) when is_binary(Value) -> Value; (Value) -> io_lib:format("~0tp", [Value]) end,
  Loop = fun(Loop) ->
    case io:get_line("") of
      eof -> halt(0);
      Line ->
        [Id, Node, Encoded] = string:lexemes(string:trim(Line), " "),
        spawn(fun() ->
          {Tag, Value} = Evaluate(Node, Encoded),
          io:format("~s ~s ~s~n", [Id, Tag, base64:encode(unicode:characters_to_binary(Print(Value)))])
        end),
        Loop(Loop)
    end
  end,
  Loop(Loop).`

interface Pending {
  readonly resolve: (value: string) => void
  readonly reject: (error: Error) => void
}

/** Starts the process for these nodes. It ends with this one: at the end of its input. */
export const startControl = ({ env }: RabbitMQNode): Control => {
  const name = `effect-amqp-control-${process.pid}-${++count}@localhost`
  const child = spawn("erl", ["-hidden", "-noshell", "-sname", name, "-eval", loop], {
    cwd: env["HOME"],
    env: { ...process.env, ...env },
    stdio: ["pipe", "pipe", "ignore"]
  })
  const pending = new Map<string, Pending>()
  const ended = new Promise<void>((resolve) => {
    const end = (): void => {
      for (const { reject } of pending.values()) reject(new Error("the process of the control has ended"))
      pending.clear()
      resolve()
    }
    child.on("error", end)
    child.on("exit", end)
  })
  child.stdin.on("error", () => {})
  readline.createInterface({ input: child.stdout }).on("line", (line) => {
    const [id = "", tag, encoded = ""] = line.split(" ")
    const text = Buffer.from(encoded, "base64").toString()
    if (tag === "ok") pending.get(id)?.resolve(text)
    else pending.get(id)?.reject(new Error(text))
    pending.delete(id)
  })
  let last = 0
  return {
    evaluate: (node, expression) =>
      new Promise((resolve, reject) => {
        if (child.exitCode !== null || child.pid === undefined) return reject(new Error("the control does not run"))
        const id = String(++last)
        pending.set(id, { resolve, reject })
        child.stdin.write(`${id} ${node.nodename} ${Buffer.from(`${expression}.`).toString("base64")}\n`)
      }),
    stop: async () => {
      child.stdin.end()
      const timer = setTimeout(() => child.kill("SIGKILL"), 5_000)
      await ended
      clearTimeout(timer)
    }
  }
}

/** The number of controls that this process has started: each needs a unique name. */
let count = 0
