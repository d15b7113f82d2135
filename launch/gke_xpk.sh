#!/usr/bin/env bash
# Trains on TPU slices of a GKE cluster with XPK; several slices are joined by the axis dcn_data.
#
#   NAME=fac-8b CLUSTER=my-cluster PROJECT=my-project ZONE=us-east5-b TYPE=v5litepod-64 SLICES=2 BUCKET=/gcs/my-bucket \
#     IMAGE=gcr.io/my-project/fac_jax launch/gke_xpk.sh --config experiments/configs/sft_8b.py \
#     --config.mesh.dcn_data=2 --config.mesh.fsdp=-1 --config.stages.sft.data.batch_rows=128 \
#     --config.model.init_from=/gcs/my-bucket/8b --config.data.sets.mine.path=/gcs/my-bucket/rows.jsonl
#
# IMAGE holds this repository in /fac_jax with `pip install '.[tpu]'`; BUCKET is mounted in every pod. A pod that is
# evicted saves, exits 0 and is started again by --max-restarts.
set -euo pipefail
: "${NAME:?}" "${CLUSTER:?}" "${PROJECT:?}" "${ZONE:?}" "${TYPE:?}" "${BUCKET:?}" "${IMAGE:?}"
exec xpk workload create --workload="$NAME" --cluster="$CLUSTER" --project="$PROJECT" --zone="$ZONE" \
  --tpu-type="$TYPE" --num-slices="${SLICES:-1}" --docker-image="$IMAGE" --max-restarts="${RESTARTS:-20}" \
  --termination-grace-period-seconds="${GRACE:-300}" \
  --command="cd /fac_jax && python -m experiments.train --cluster=tpu --workdir=$BUCKET/$NAME --data_dir=$BUCKET/data $(printf '%q ' "$@")"
