# The control plane, and by another command the dispatcher. Built from the root of the project:
#   docker build -f docker/orchestrator.Dockerfile -t flotilla-orchestrator .
ARG BASE_IMAGE=node:24-bookworm-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY scripts/build.mjs scripts/
COPY src src
RUN node scripts/build.mjs
RUN mkdir -p /data/media

FROM ${BASE_IMAGE} AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="flotilla-orchestrator" \
      org.opencontainers.image.description="The control plane of a Flotilla fleet" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT"
ENV NODE_ENV=production HOST=0.0.0.0 DATA_DIR=/data
WORKDIR /app
COPY --from=packages /app/node_modules node_modules
COPY package.json LICENSE ./
COPY docker/make-keys.mjs docker/
COPY --from=build /app/dist dist
COPY --from=build --chown=node:node /data /data
VOLUME /data
EXPOSE 3000
USER node
# A small young generation, as with `npm start`: large uploads stay within their memory.
ENTRYPOINT ["node", "--max-semi-space-size=8", "--no-parallel-scavenge"]
CMD ["dist/orchestrator/main.js"]
