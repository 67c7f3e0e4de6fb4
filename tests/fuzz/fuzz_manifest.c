/* link: helper image plan */
/* Manifests and indexes, as registries and archives have them. */
#include "input.h"

#include "runtime/image/document.h"
#include "runtime/image/helper/descriptor.h"
#include "runtime/image/index.h"
#include "runtime/image/platform.h"

#include <assert.h>

static void check(const struct descriptor *descriptor)
{
    assert(digest_is_hex(descriptor->hex) && descriptor->size >= 0);
}

static void read_manifest(const json_t *document, const char *type)
{
    struct descriptor config;
    const json_t *layers;
    struct error err = { 0 };
    if (manifest_parse(document, type, &config, &layers, &err) < 0) {
        assert(err.exit_code != 0 && err.message[0] != '\0');
        return;
    }
    check(&config);
    for (size_t i = 0; i < json_array_size(layers); i++) {
        struct descriptor layer;
        if (manifest_parse_layer(layers, i, &layer, &err) == 0)
            check(&layer);
    }
}

static void read_index(const json_t *document)
{
    struct error err = { 0 };
    const json_t *manifests;
    const struct platform host = platform_host();
    if (document_get_array(document, "manifests", "index", &manifests, &err) < 0)
        return;
    for (size_t i = 0; i < json_array_size(manifests); i++) {
        struct descriptor entry;
        if (descriptor_parse(json_array_get(manifests, i), "index", &entry, &err) < 0)
            continue;
        check(&entry);
        if (entry.platform)
            (void)platform_matches(&host, entry.platform);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = { 0 };
    const char *types[] = { NULL, media_manifest_types[0], media_manifest_types[1] };
    if (size == 0)
        return 0;
    json_t *document = document_parse((const char *)data + 1, size - 1, "it", &err);
    if (!document) {
        assert(err.exit_code != 0 && err.message[0] != '\0');
        return 0;
    }
    read_manifest(document, types[data[0] % 3]);
    read_index(document);
    json_decref(document);
    return 0;
}
