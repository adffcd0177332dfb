"""Whether requests should be sent to this server."""

from model.serve.api.lifecycle import Lifecycle
from model.serve.api.schema.shapes import Health
from model.serve.api.serving import Serving


def health_of(serving: Serving, lifecycle: Lifecycle) -> Health:
    """The server's health: the engine is alive, and if it has work, a step has finished lately."""
    stats, reasons = serving.engine.stats(), []
    if lifecycle.is_draining:
        reasons.append("the server is stopping")
    if not stats.is_alive:
        end = "has failed too often; restart the server" if stats.stays_down else "is being restarted"
        reasons.append(f"the engine is down and {end}")
    idle_s = stats.seconds_since_step
    if (stats.running or stats.waiting) and idle_s is not None and idle_s > serving.limits.stall_s:
        reasons.append(f"the engine has work and finished no step for {idle_s:.0f} s")
    status = "unhealthy" if reasons else "ok"
    waiting = stats.waiting + (serving.admission.waiting if serving.admission is not None else 0)
    return {"status": status, "reasons": reasons, "running": stats.running, "waiting": waiting}
