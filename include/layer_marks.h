/* What hybrid-image tells of a layer's file to those who mount it. */
#ifndef HYBRID_LAYER_MARKS_H
#define HYBRID_LAYER_MARKS_H

/*
 * An extended attribute of the root of a layer whose archive has no entry for it: owner, mode and
 * time of "/" are then those of the next layer below that has one (overlayfs would show those of
 * the topmost layer). overlayfs hides attributes with this prefix from who is in the workload.
 */
#define LAYER_ROOT_LEFT_OUT "trusted.overlay.hybrid.root"

#endif
