"""A Flash app with every kind of resource in one module, as users write it."""

from runpod_flash import (
    CpuInstanceType,
    DataCenter,
    Endpoint,
    GpuGroup,
    LiveLoadBalancer,
    LiveServerless,
    NetworkVolume,
    PodTemplate,
    remote,
)

volume = NetworkVolume(name="data", size=50)


@Endpoint(
    name="first",
    gpu=GpuGroup.ADA_24,
    dependencies=["numpy"],
    system_dependencies=["tree"],
    max_concurrency=4,
    volume=volume,
)
async def first(x):
    return await second(x) + 1


@Endpoint(name="second", cpu=CpuInstanceType.CPU3C_1_2, datacenter=DataCenter.EU_RO_1)
def second(x):
    return x * 2


@Endpoint(name="counter", gpu=[GpuGroup.ADA_24, GpuGroup.AMPERE_80], template=PodTemplate(containerDiskInGb=20))
class Counter:
    def __init__(self):
        self.n = 0

    def add(self, n):
        self.n += n
        return self.n


api = Endpoint(name="api", cpu="cpu3c-1-2")


@api.get("/hello")
def hello():
    return {"hello": "world"}


@api.post("/sum")
async def total(a: int, b: int):
    return a + b


old = LiveServerless(name="old", gpus=[GpuGroup.ADA_24, GpuGroup.ANY], workersMax=2)


@remote(old, dependencies=["numpy"])
async def legacy(x):
    return x


@remote(resource_config=LiveServerless(name="old_class"), system_dependencies=["tree"])
class Legacy:
    def method(self, x):
        return x


@remote(LiveLoadBalancer(name="balancer"), method="POST", path="/handle")
def handle(a):
    return a


client = Endpoint(id="abc")
