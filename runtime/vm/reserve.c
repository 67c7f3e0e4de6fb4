/* What a machine is to have before it boots: its shares, its processors, its cgroup. */
#include "parts.h"

#include "cleanup.h"
#include "description.h"

/* A pod's are those of its containers, which come later. */
int boot_list_shares(const struct workload *vm, const struct workload_spec *spec,
                     struct shares *shares, struct error *err)
{
    *shares = (struct shares){ .later = true };
    return vm->kind == VM_POD ? 0 : shares_list(spec, shares, err);
}

bool boot_serves(const struct shares *shares)
{
    return shares->count > 0 || shares->later;
}

int boot_count_cpus(const struct workload *vm, const struct plan_resources *resources,
                    struct error *err)
{
    return vm->kind == VM_POD ? vm_pod_cpu_count(resources, err) : vm_cpu_count(resources, err);
}

/* Sized for hybrid-vmm and the server of the shares; hybrid-names, born there too, is small. What
 * stands in for a pod's container is bounded by nothing: what it does is the engine's own work. */
static int describe_cgroup(const struct workload *vm, const struct workload_spec *spec,
                           const struct shares *shares, struct plan_resources *host,
                           struct error *err)
{
    const struct plan_resources *resources = &spec->plan->resources;
    if (vm->kind == VM_CONTAINER) {
        *host = (struct plan_resources)PLAN_NO_RESOURCES;
        host->every_controller = resources->every_controller;
        return 0;
    }
    int cpus = boot_count_cpus(vm, resources, err);
    if (cpus < 0)
        return -1;
    *host = vm_host_resources(resources, vm_ram_size(vm_memory_limit(resources)), cpus,
                              boot_serves(shares));
    return 0;
}

int boot_make_cgroup(struct workload *vm, const struct workload_spec *spec,
                     const struct shares *shares, struct error *err)
{
    struct plan_resources host;
    if (describe_cgroup(vm, spec, shares, &host, err) < 0)
        return -1;
    vm->cgroup = spec->scope
                     ? cgroup_create_in_scope(spec->scope, spec->paths.state_dir, &host, err)
                     : cgroup_create(vm->cgroup_name, spec->paths.state_dir, &host, err);
    return vm->cgroup ? 0 : -1;
}

int boot_reserve(struct workload *vm, const struct workload_spec *spec, struct error *err)
{
    struct shares shares = { 0 };
    _cleanup_close_ int kvm = vm_open_kvm(&spec->paths, err);
    if (kvm < 0)
        return error_see_doctor(err, "kvm");
    int result = boot_list_shares(vm, spec, &shares, err);
    if (result == 0)
        result = boot_make_cgroup(vm, spec, &shares, err);
    shares_free(&shares);
    return result;
}
