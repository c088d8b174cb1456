"""A worker in Python's standard library: claims tasks, sends them, and says what became of each.

ORCHESTRATOR_URL=http://127.0.0.1:3000 SESSION_ID=s1 WORKER_TOKEN=... python3 worker.py
"""
import hashlib, json, os, time, urllib.error, urllib.request, uuid

SESSION = os.environ["SESSION_ID"]
BASE = f"{os.environ['ORCHESTRATOR_URL']}/api/worker/sessions/{SESSION}/outbox"


def call(action, body=None, **headers):
    """Repeats until there is an answer: every call may be repeated. A replaced worker (409) ends here."""
    headers |= {"X-Webhook-Secret": os.environ["WORKER_TOKEN"], "Content-Type": "application/json"}
    data = json.dumps(body or {}).encode()
    while True:
        request = urllib.request.Request(f"{BASE}/{action}", data, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=75) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code not in (429, 503):
                raise SystemExit(f"{action}: {error.code} {error.read().decode()}")
            time.sleep(float(error.headers.get("Retry-After", 1)))
        except OSError:
            time.sleep(1)


def send(task, message_id):
    """Put a real WhatsApp client here. Return only when the server has the message."""
    print("sent", message_id, task["to"], task.get("text", task.get("mediaRef")), flush=True)


while True:
    claim = call("claim?timeout=20", **{"X-Claim-Request": str(uuid.uuid4())})
    if claim["task"] is None:
        continue
    raw, task = claim["raw"], claim["task"]
    if not isinstance(task, dict) or "to" not in task or "taskId" not in task:
        call("nack", {"raw": raw, "permanent": True, "reason": "not a task"})
        continue
    digest = hashlib.sha256(f"{SESSION}\0{task['taskId']}".encode()).hexdigest()
    try:
        send(task, "3EB0" + digest[:18].upper())
    except Exception as error:  # it was not sent: back to its place, and a pause
        call("nack", {"raw": raw, "claimId": claim["claimId"], "delayMs": 5000, "reason": str(error)})
    else:
        call("ack", {"raw": raw})
