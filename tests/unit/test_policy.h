/* Policies in tests: from a text with single quotes, and rules to make them of. */
#ifndef HYBRID_TEST_POLICY_H
#define HYBRID_TEST_POLICY_H

#include "test_plan_compose.h"

#include "runtime/policy/parts.h"

#define DIGEST  "1111111111111111111111111111111111111111111111111111111111111111"
#define OTHER   "2222222222222222222222222222222222222222222222222222222222222222"
#define LIBRARY "docker.io/library/busybox:latest"

#define RULES(fallback, ...)                                                                       \
    "{'version':1,'tenant_annotations':'tenant.','rules':[" __VA_ARGS__ "],'default':'" fallback   \
    "'}"
#define RULE(name, match, isolation)                                                               \
    "{'name':'" name "','match':{" match "},'isolation':'" isolation "'}"

#define BY_DIGEST      RULE("d", "'digest':['sha256:" DIGEST "']", "container")
#define BY_LIBRARY     RULE("lib", "'pulled_from':['docker.io/library']", "container")
#define BY_SLASH       RULE("team", "'pulled_from':['reg.example/team/']", "container")
#define BY_NAME        RULE("one", "'pulled_from':['docker.io/library/busybox:latest']", "container")
#define NAME_WEAK      RULE("named", "'reference':['docker.io/library']", "container")
#define NAME_VM        RULE("named", "'reference':['docker.io/library']", "vm")
#define BY_KEY         RULE("signed", "'signature':{'keys':['/k/a.pem']}", "container")
#define BY_UID         RULE("u", "'tenant':{'uid':[1000,1001]}", "container")
#define BY_CGROUP      RULE("c", "'tenant':{'cgroup':['/user.slice/a']}", "container")
#define BY_ANNOTATION  RULE("a", "'tenant':{'annotations':{'tenant.name':'gold'}}", "container")
#define BY_BOTH        RULE("b", "'digest':['sha256:" DIGEST "'],'tenant':{'uid':[1000]}", "container")
#define LABEL_WEAK     RULE("weak", "'labels':{'trust':'yes'}", "container")
#define LABEL_VM       RULE("lv", "'labels':{'risk':'high'}", "vm")
#define LABEL_DENY     RULE("ld", "'labels':{'risk':'*'}", "deny")
#define CAP_VM         RULE("cap", "'capabilities':['SYS_ADMIN','CAP_BPF']", "vm")
#define CAP_DEFAULT    RULE("chown", "'capabilities':['CHOWN']", "vm")
#define MOUNT_DENY     RULE("m", "'mounts':['/etc']", "deny")
#define DEVICE_VM      RULE("dev", "'devices':['a *:*']", "vm")
#define DEVICE_DISK    RULE("disk", "'devices':['b 8:*']", "deny")
#define NETWORK_VM     RULE("net", "'networks':['host']", "vm")
#define NETWORK_JOINED RULE("join", "'networks':['joined']", "deny")
#define HOST_SPACES    RULE("spaces", "'host_namespaces':['pid','ipc']", "deny")
#define JOINED_SPACES  RULE("pod", "'joined_namespaces':['pid','mount']", "vm")
#define HOOK_DENY      RULE("hook", "'hooks':['/opt','/usr/bin/env']", "deny")
#define ALL_CONTAINER  RULE("all", "", "container")

static inline struct policy *policy_of(const char *text)
{
    struct error err = { 0 };
    json_t *document = load(text);
    struct policy *policy = policy_parse(document, "test", &err);
    json_decref(document);
    if (!policy)
        fail_msg("%s: %s", err.message, text);
    return policy;
}

#endif
