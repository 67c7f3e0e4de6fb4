/* Entries of the first and the second vCPU, and of exceptions. */

    .section .text.start, "ax"
    .code64
    .globl guest_entry
guest_entry: /* the 64-bit boot protocol: RSI is the zero page */
    movabsq $boot_stack_end, %rsp
    movq %rsi, %rdi
    call guest_main
1:  cli
    hlt
    jmp 1b

/*
 * The second vCPU begins in real mode at TRAMPOLINE, where the first has copied this. It uses the
 * page tables of the first.
 */
    .set TRAMPOLINE, 0x10000
    .globl trampoline, trampoline_end
    .code16
trampoline:
    cli
    movw $0x1000, %ax
    movw %ax, %ds
    lgdtl trampoline_gdt_pointer - trampoline
    movl $0x20, %eax /* PAE */
    movl %eax, %cr4
    movl page_tables_address - trampoline, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx /* EFER: LME */
    movl $0x100, %eax
    xorl %edx, %edx
    wrmsr
    movl $0x80000011, %eax /* PG, ET, PE */
    movl %eax, %cr0
    ljmpl $0x10, $(TRAMPOLINE + trampoline_64 - trampoline)
    .code64
trampoline_64:
    movw $0x18, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movabsq $second_stack_end, %rsp
    movabsq $second_main, %rax
    call *%rax
1:  cli
    hlt
    jmp 1b
    .balign 8
trampoline_gdt:
    .quad 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff
trampoline_gdt_pointer:
    .word 31
    .long TRAMPOLINE + trampoline_gdt - trampoline
    .balign 8
page_tables_address:
    .long page_tables
trampoline_end:

/* Every exception ends the run: the vector is told by the handler's place, 32 bytes each. */
    .section .text
    .globl exception_handlers
    .balign 32
exception_handlers:
    .set vector, 0
    .rept 32
    .balign 32
    movl $vector, %edi
    movq 0(%rsp), %rsi
    movq 8(%rsp), %rdx
    jmp exception_entry
    .set vector, vector + 1
    .endr
exception_entry:
    andq $-16, %rsp
    call exception
1:  hlt
    jmp 1b

    .section .bss
    .balign 32
    .skip 65536
boot_stack_end:
    .skip 16384
second_stack_end:
