"""Which proxy the environment names."""

from __future__ import annotations

import pytest
from yarl import URL

from asset_worker.runtime.proxy import BadProxyError, proxy_of_environment

API = URL("https://api.twelvelabs.io/v1.3")


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        pytest.param({}, API, None, id="none"),
        pytest.param({"HTTPS_PROXY": "http://p:3128"}, API, "http://p:3128", id="one"),
        pytest.param({"https_proxy": "http://p:3128"}, API, "http://p:3128", id="in small letters"),
        pytest.param({"HTTPS_PROXY": "p:3128"}, API, "http://p:3128", id="without a scheme"),
        pytest.param({"HTTPS_PROXY": "http://u:p%40ss@p"}, API, "http://u:p%40ss@p", id="with a password"),
        pytest.param({"HTTPS_PROXY": "https://p"}, API, "https://p", id="spoken to over TLS"),
        pytest.param({"HTTPS_PROXY": ""}, API, None, id="an empty one"),
        pytest.param({"HTTPS_PROXY": " "}, API, None, id="a blank one"),
        pytest.param({"https_proxy": "\t "}, API, None, id="a blank one in small letters"),
        pytest.param({"HTTPS_PROXY": " http://p:3128 "}, API, "http://p:3128", id="blanks around it"),
        pytest.param({"HTTPS_PROXY": "http://p", "NO_PROXY": " "}, API, "http://p", id="a blank exception"),
        pytest.param({"HTTP_PROXY": "http://p"}, API, None, id="of another scheme"),
        pytest.param({"HTTPS_PROXY": "http://p", "NO_PROXY": ".twelvelabs.io"}, API, None, id="a domain excepted"),
        pytest.param({"HTTPS_PROXY": "http://p", "NO_PROXY": "*"}, API, None, id="all excepted"),
        pytest.param({"HTTPS_PROXY": "http://p", "NO_PROXY": "x.io"}, API, "http://p", id="another excepted"),
        pytest.param({"HTTPS_PROXY": "http://p"}, URL("https://localhost:1"), None, id="this machine by name"),
        pytest.param({"HTTPS_PROXY": "http://p"}, URL("https://[::1]:1"), None, id="this machine by address"),
        pytest.param({"HTTP_PROXY": "http://p"}, URL("http://127.0.0.2:1"), None, id="what would show it the key"),
    ],
)
def test_the_proxy_is_the_one_that_other_programs_would_use(monkeypatch, environment, url, proxy):
    """The variables mean what they mean to curl and to Python itself."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_of_environment(url) == (proxy and URL(proxy))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        pytest.param("socks5://u:secret@p:1080", "'socks5'", id="another kind"),
        pytest.param("http://u:secret@p:notaport", "not a URL", id="no URL"),
        pytest.param("http://", "can't be used", id="no host"),
    ],
)
def test_a_proxy_that_can_not_be_used_is_refused_and_its_password_not_shown(monkeypatch, value, why):
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(BadProxyError, match=why) as raised:
        proxy_of_environment(API)
    assert "HTTPS_PROXY" in str(raised.value)
    assert "secret" not in str(raised.value)
