import uuid, pytest
from types import SimpleNamespace
@pytest.fixture(scope="session")
def kafka(): return SimpleNamespace(bootstrap_servers="127.0.0.1:19092")
@pytest.fixture
def unique_slug(): return "t"+uuid.uuid4().hex[:10]
