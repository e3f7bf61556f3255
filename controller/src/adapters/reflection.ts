import type { Server, ServiceDefinition, UntypedServiceImplementation } from "@grpc/grpc-js";

interface Loaded {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
}

const SERVICES = [
  "grpc.reflection.v1.ServerReflection",
  "grpc.reflection.v1alpha.ServerReflection",
];

/**
 * Server reflection, so that grpcurl and clients without generated code work.
 *
 * It needs protobufjs and costs 30 ms to load, which nobody should wait for at every start: what
 * is registered here loads the real thing when it is called for the first time.
 */
export function addReflection(server: Pick<Server, "addService">): void {
  for (const service of SERVICES) server.addService(lazyDefinition(service), lazyHandlers(service));
}

const METHOD = "ServerReflectionInfo";

function lazyDefinition(service: string): ServiceDefinition {
  return {
    [METHOD]: {
      path: `/${service}/${METHOD}`,
      requestStream: true,
      responseStream: true,
      // Nothing is read before the handler asks for it, and by then the real ones are loaded.
      requestDeserialize: (bytes: Buffer) => methodOf(service).requestDeserialize(bytes),
      requestSerialize: (value: unknown) => methodOf(service).requestSerialize(value),
      responseDeserialize: (bytes: Buffer) => methodOf(service).responseDeserialize(bytes),
      responseSerialize: (value: unknown) => methodOf(service).responseSerialize(value),
    },
  };
}

function lazyHandlers(service: string): UntypedServiceImplementation {
  return {
    [METHOD]: (call: { readonly destroy: (error: Error) => void }) => {
      load().then(
        (services) => {
          const handler = services.get(service)?.implementation[METHOD] as
            | ((call: unknown) => void)
            | undefined;
          handler?.(call);
        },
        (error: Error) => call.destroy(error),
      );
    },
  };
}

let services: ReadonlyMap<string, Loaded> = new Map();

function methodOf(service: string) {
  const method = services.get(service)?.definition[METHOD];
  if (method === undefined) throw new Error(`${service} is not loaded`);
  return method;
}

async function load(): Promise<ReadonlyMap<string, Loaded>> {
  if (services.size > 0) return services;
  const [{ ReflectionService }, { loadFileDescriptorSetFromBuffer }, { DESCRIPTORS }] =
    await Promise.all([
      import("@grpc/reflection"),
      import("@grpc/proto-loader"),
      import("@mnm/proto/descriptors"),
    ]);
  const loaded = new Map<string, Loaded>();
  const descriptors = loadFileDescriptorSetFromBuffer(Buffer.from(DESCRIPTORS, "base64"));
  const publicOnly = Object.fromEntries(
    Object.entries(descriptors).filter(([name]) => name.startsWith("mnm.v1.")),
  );
  new ReflectionService(publicOnly).addToServer({
    addService: (definition, implementation) => {
      const [method] = Object.values(definition);
      const [, name = ""] = method?.path.split("/") ?? [];
      loaded.set(name, { definition, implementation });
    },
  });
  services = loaded;
  return services;
}
