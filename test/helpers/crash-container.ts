import type Docker from 'dockerode';

/**
 * Ends the running container with these labels as its machine would end it: the engine's own kill would tell that the
 * end was wanted. Where there is none, or it has ended by itself meanwhile, nothing is done.
 */
export async function crashContainer(docker: Docker, labels: readonly string[]): Promise<void> {
  const [running] = await docker.listContainers({ filters: { label: [...labels] } });
  if (!running) return;
  const pid = await docker
    .getContainer(running.Id)
    .inspect()
    .then(
      ({ State: state }) => state.Pid,
      () => 0,
    );
  try {
    if (pid > 1) process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself meanwhile.
  }
}
