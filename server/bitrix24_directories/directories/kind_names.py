"""What people call the built-in kinds of records, beside their titles on a portal. A leaf.

One of many, and many, in English, Russian, Ukrainian, German, Spanish, French, Portuguese, Polish, Italian and Turkish,
as Bitrix24 calls them there and as people do.
"""

from __future__ import annotations

_NAMES = {
    1: "lead, leads; лид, лиды; лід, ліди; prospecto, prospectos; prospect, prospects; leady; potencjalny klient; "
    "müşteri adayı, müşteri adayları",
    2: "deal, deals, opportunity, opportunities; сделка, сделки; угода, угоди; auftrag, aufträge, geschäft, geschäfte; "
    "negociación, negociaciones, oportunidad, oportunidades; transaction, transactions, affaire, affaires, "
    "opportunité, opportunités; negócio, negócios, oportunidade; deale, transakcja, transakcje; affare, affari, "
    "trattativa, trattative, opportunità; anlaşma, anlaşmalar, fırsat, fırsatlar",
    3: "contact, contacts; контакт, контакты; контакти; kontakt, kontakte; contacto, contactos; contato, contatos; "
    "kontakty; contatto, contatti; kişi, kişiler",
    4: "company, companies; компания, компании; компанія, компанії; unternehmen, firma, firmen; compañía, compañías, "
    "empresa, empresas; entreprise, entreprises, société, sociétés; firmy; azienda, aziende, società; "
    "şirket, şirketler",
    7: "quote, quotes, quotation, quotations, estimate, estimates, offer, offers, proposal, proposals; предложение, "
    "предложения, коммерческое предложение, коммерческие предложения; пропозиція, пропозиції, комерційна пропозиція; "
    "angebot, angebote; cotización, cotizaciones, presupuesto, presupuestos, propuesta, propuestas; devis; orçamento, "
    "orçamentos, proposta, propostas; oferta, ofertas, oferty; preventivo, preventivi, offerta, offerte; teklif, "
    "teklifler",
    31: "invoice, invoices, smart invoice, smart invoices; счёт, счета, счет; рахунок, рахунки; rechnung, rechnungen; "
    "factura, facturas; facture, factures; fatura, faturas; faktura, faktury; fattura, fatture; faturalar",
    36: "document, documents",
}

KIND_NAMES = {type_id: tuple(names.replace(";", ",").split(", ")) for type_id, names in _NAMES.items()}
"""By `entityTypeId`, in lower case; the first two are those that this program itself uses."""
