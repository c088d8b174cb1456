/** What the swarm API tells, as far as it is read here. Times are RFC 3339, by the clocks of the managers. */
export interface ServiceFacts {
  ID: string;
  Version: { Index: number };
  CreatedAt: string;
  Spec: { Name: string; Labels?: Record<string, string> };
}

export interface TaskFacts {
  ID: string;
  CreatedAt: string;
  ServiceID: string;
  NodeID?: string;
  DesiredState: string;
  Spec: { ContainerSpec?: { Labels?: Record<string, string> } };
  Status: {
    Timestamp: string;
    State: string;
    Err?: string;
    ContainerStatus?: { ContainerID?: string; ExitCode?: number };
  };
}

export interface NodeFacts {
  ID: string;
  Description?: {
    Hostname?: string;
    Platform?: { OS?: string; Architecture?: string };
    Resources?: { MemoryBytes?: number };
    Engine?: { Labels?: Record<string, string> };
  };
  Spec?: { Availability?: string; Role?: string; Labels?: Record<string, string> };
  Status: { State: string };
}
