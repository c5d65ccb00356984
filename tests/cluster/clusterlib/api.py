"""A few calls to the API server, without starting kubectl for each.

Speaks with the administrator's certificate from the cluster's own state.
"""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any

from . import settings
from .settings import Paths

#: Seconds for one call, connecting included.
CALL_LIMIT = 10

#: Who owns the fields that `apply` sets.
FIELD_MANAGER = "mailrelay-cluster"

#: Paths of the kinds that the harness applies; `None` stands for no namespace.
COLLECTIONS: dict[str, str] = {
    "Namespace": "/api/v1/namespaces",
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
    "StorageClass": "/apis/storage.k8s.io/v1/storageclasses",
    "Pod": "/api/v1/namespaces/{namespace}/pods",
    "PersistentVolumeClaim": "/api/v1/namespaces/{namespace}/persistentvolumeclaims",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
}


class ApiError(Exception):
    """The API server answered with a refusal."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Api:
    """The cluster's API, one connection per call."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def get(self, path: str) -> Any:
        """The object at a path."""
        return self._call("GET", path)

    def ready(self) -> bool:
        """Whether the server says that it is ready."""
        try:
            return bool(self._call("GET", "/readyz", text=True) == "ok")
        except ApiError:
            return False

    def apply(self, thing: dict[str, Any]) -> Any:
        """Creates or updates an object by server-side apply."""
        query = f"?fieldManager={FIELD_MANAGER}&force=true"
        path = f"{object_path(thing)}{query}"
        return self._call("PATCH", path, thing, kind="application/apply-patch+yaml")

    def delete(self, thing: dict[str, Any], grace: int | None = None) -> None:
        """Deletes an object; one that has gone already is no error."""
        query = "" if grace is None else f"?gracePeriodSeconds={grace}"
        try:
            self._call("DELETE", object_path(thing) + query)
        except ApiError as error:
            if error.status != 404:
                raise

    def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        kind: str = "application/json",
        text: bool = False,
    ) -> Any:
        context = ssl.create_default_context(cafile=str(self._paths.pki / "ca.crt"))
        context.load_cert_chain(self._paths.pki / "admin.crt", self._paths.pki / "admin.key")
        connection = http.client.HTTPSConnection(
            settings.HOST_ADDRESS, settings.API_PORT, timeout=CALL_LIMIT, context=context
        )
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": kind})
            response = connection.getresponse()
            answer = response.read().decode()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()
        if response.status >= 300:
            raise ApiError(response.status, _message(answer))
        return answer if text else json.loads(answer)


def object_path(thing: dict[str, Any]) -> str:
    """The API path of an object."""
    metadata = thing["metadata"]
    collection = COLLECTIONS[thing["kind"]]
    return f"{collection.format(namespace=metadata.get('namespace'))}/{metadata['name']}"


def _message(answer: str) -> str:
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        return answer[:200]
