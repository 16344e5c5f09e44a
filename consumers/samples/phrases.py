"""What people of six languages write to a help desk: small templates, filled in by the generators.

Placeholders: ``{name}``, ``{first}``, ``{email}``, ``{phone}``, ``{order}``, ``{product}``. Lines of agents and of other
people use ``{first}`` and ``{email}`` only: a full name stands in nobody's words but the subject's own.
"""

from __future__ import annotations

from dataclasses import dataclass

PRODUCTS = ("Aria 2", "Lumen S", "Nido Mini", "Volta Pro", "Orso X1", "Kite 40")


@dataclass(frozen=True, slots=True)
class Phrases:
    """One language. Tuples of templates; ``topics`` are (subject line, description)."""

    topics: tuple[tuple[str, str], ...]
    contact: tuple[str, ...]  # the requester goes on
    agent: tuple[str, ...]  # an agent answers
    agent_quoting: tuple[str, ...]  # an agent answers and quotes the requester's address
    other_quoting: tuple[str, ...]  # another customer quotes the subject's address
    chat_contact: tuple[str, ...]
    chat_agent: tuple[str, ...]
    guide: tuple[str, ...]  # a comment under an article
    guide_quoting: tuple[str, ...]  # somebody answers it and quotes the address
    call: tuple[tuple[str, str], ...]  # (agent, caller)
    remark: tuple[str, ...]
    articles: tuple[tuple[str, str], ...]


ENGLISH = Phrases(
    topics=(
        ("Order {order} has not arrived", "Hello, my order {order} should have come on Monday. Can you look? {name}"),
        ("Invoice with the wrong address", "The invoice for {order} shows my old address. Please send it to {email}."),
        ("{product} will not switch on", "My {product} stays dark since the update. Call me on {phone}. {name}"),
        (
            "Change of e-mail address",
            "Please use {email} from now on, I no longer read the old mailbox. Thanks, {name}",
        ),
        ("Refund for {order}", "I sent the {product} back two weeks ago and still wait for the refund. {name}"),
    ),
    contact=(
        "Any news about this? You can also reach me on {phone}.",
        "Thank you, that worked! Best, {name}",
        "I have attached a photo of the label.",
        "It still happens, twice a day.",
    ),
    agent=(
        "Hi {first}, I have passed this on to our warehouse and come back to you tomorrow.",
        "Hi {first}, please hold the power button for ten seconds and try again.",
        "Good morning {first}, the refund was booked today.",
    ),
    agent_quoting=(
        "I have sent the confirmation to {email}; please look in the spam folder too.",
        "Could you confirm that {email} is still your address?",
    ),
    other_quoting=(
        "Same here. {email} and I share the subscription, please keep both informed.",
        "I forwarded your last answer to {email}.",
    ),
    chat_contact=(
        "hi, my {product} is offline again",
        "it's on {email}",
        "the light is red and blinks",
        "great, thanks a lot!",
    ),
    chat_agent=("Hello, how can I help?", "Which address is the account on?", "Have a nice day!"),
    guide=(
        "Step 3 did not work for me, write to {email} if you know why.",
        "Thanks, this saved my weekend. {name}",
        "On the {product} the menu has another name.",
    ),
    guide_quoting=("@{email} try it with the cable unplugged.", "I wrote to {email} and it is solved."),
    call=(
        ("Good morning, who am I speaking to?", "This is {name}, my number is {phone}."),
        ("What can I do for you?", "My {product} arrived broken, the order is {order}."),
        ("Where may I send the label?", "To {email}, please."),
    ),
    remark=("Quick and friendly.", "It took too long. {name}", "Solved at the second try."),
    articles=(
        ("Resetting your device", "Hold the power button for ten seconds."),
        ("Returns and refunds", "Print the label and hand the parcel in."),
    ),
)

ITALIAN = Phrases(
    topics=(
        (
            "L'ordine {order} non è arrivato",
            "Buongiorno, aspetto l'ordine {order} da lunedì. Potete controllare? {name}",
        ),
        ("Fattura con indirizzo sbagliato", "La fattura di {order} riporta il vecchio indirizzo. Inviatela a {email}."),
        ("{product} non si accende", "Dopo l'aggiornamento {product} resta spento. Chiamatemi al {phone}. {name}"),
        (
            "Cambio di indirizzo e-mail",
            "D'ora in poi usate {email}, la vecchia casella non la leggo più. Grazie, {name}",
        ),
        ("Rimborso per {order}", "Ho restituito {product} due settimane fa e attendo ancora il rimborso. {name}"),
    ),
    contact=(
        "Ci sono novità? Mi trovate anche al {phone}.",
        "Grazie mille, ora funziona! {name}",
        "Allego una foto dell'etichetta.",
        "Succede ancora, due volte al giorno.",
    ),
    agent=(
        "Ciao {first}, ho girato la richiesta al magazzino e ti aggiorno domani.",
        "Ciao {first}, tieni premuto il tasto per dieci secondi e riprova.",
        "Buongiorno {first}, il rimborso è partito oggi.",
    ),
    agent_quoting=(
        "Ho inviato la conferma a {email}: controlla anche lo spam.",
        "Mi confermi che {email} è ancora il tuo indirizzo?",
    ),
    other_quoting=(
        "Anche per me. Condivido l'abbonamento con {email}, avvisateci entrambi.",
        "Ho inoltrato la vostra risposta a {email}.",
    ),
    chat_contact=(
        "ciao, {product} è di nuovo offline",
        "è su {email}",
        "la luce è rossa e lampeggia",
        "perfetto, grazie!",
    ),
    chat_agent=("Ciao, come posso aiutarti?", "Su quale indirizzo è l'account?", "Buona giornata!"),
    guide=(
        "Il passo 3 non funziona, scrivetemi a {email} se sapete perché.",
        "Grazie, mi avete salvato il fine settimana. {name}",
        "Su {product} il menu ha un altro nome.",
    ),
    guide_quoting=("@{email} prova a staccare il cavo.", "Ho scritto a {email} e abbiamo risolto."),
    call=(
        ("Buongiorno, con chi parlo?", "Sono {name}, il mio numero è {phone}."),
        ("Come posso aiutarla?", "{product} è arrivato rotto, l'ordine è {order}."),
        ("Dove le mando l'etichetta?", "A {email}, per favore."),
    ),
    remark=("Veloci e gentili.", "Troppo tempo. {name}", "Risolto al secondo tentativo."),
    articles=(
        ("Ripristinare il dispositivo", "Tieni premuto il tasto per dieci secondi."),
        ("Resi e rimborsi", "Stampa l'etichetta e consegna il pacco."),
    ),
)

GERMAN = Phrases(
    topics=(
        ("Bestellung {order} nicht angekommen", "Guten Tag, meine Bestellung {order} fehlt seit Montag. Grüße, {name}"),
        (
            "Rechnung mit falscher Anschrift",
            "Auf der Rechnung zu {order} steht die alte Anschrift. Bitte an {email} senden.",
        ),
        ("{product} lässt sich nicht einschalten", "Seit dem Update bleibt {product} dunkel. Rückruf: {phone}. {name}"),
        ("Neue E-Mail-Adresse", "Bitte ab jetzt {email} verwenden, das alte Postfach lese ich nicht mehr. {name}"),
        (
            "Erstattung für {order}",
            "Ich habe {product} vor zwei Wochen zurückgeschickt und warte auf mein Geld. {name}",
        ),
    ),
    contact=(
        "Gibt es etwas Neues? Sie erreichen mich auch unter {phone}.",
        "Danke, jetzt geht es! Viele Grüße, {name}",
        "Ein Foto des Etiketts hängt an.",
        "Es passiert immer noch, zweimal am Tag.",
    ),
    agent=(
        "Hallo {first}, ich habe es ans Lager gegeben und melde mich morgen.",
        "Hallo {first}, bitte halten Sie die Taste zehn Sekunden lang gedrückt.",
        "Guten Morgen {first}, die Erstattung ist heute gebucht worden.",
    ),
    agent_quoting=(
        "Die Bestätigung ging an {email}; bitte auch im Spam-Ordner nachsehen.",
        "Ist {email} noch Ihre Adresse?",
    ),
    other_quoting=(
        "Bei mir auch. {email} und ich teilen uns das Abo, bitte beide informieren.",
        "Ihre letzte Antwort habe ich an {email} weitergeleitet.",
    ),
    chat_contact=(
        "hallo, {product} ist wieder offline",
        "unter {email}",
        "die Lampe blinkt rot",
        "super, vielen Dank!",
    ),
    chat_agent=("Hallo, wie kann ich helfen?", "Unter welcher Adresse läuft das Konto?", "Schönen Tag noch!"),
    guide=(
        "Schritt 3 ging bei mir nicht, gern Tipps an {email}.",
        "Danke, Wochenende gerettet. {name}",
        "Beim {product} heißt das Menü anders.",
    ),
    guide_quoting=("@{email} versuch es ohne Kabel.", "Ich habe {email} geschrieben, es ist gelöst."),
    call=(
        ("Guten Tag, mit wem spreche ich?", "{name} hier, meine Nummer ist {phone}."),
        ("Was kann ich für Sie tun?", "{product} kam kaputt an, Bestellung {order}."),
        ("Wohin darf ich das Etikett schicken?", "An {email}, bitte."),
    ),
    remark=("Schnell und freundlich.", "Hat zu lange gedauert. {name}", "Beim zweiten Mal gelöst."),
    articles=(
        ("Gerät zurücksetzen", "Taste zehn Sekunden gedrückt halten."),
        ("Rückgabe und Erstattung", "Etikett drucken und Paket abgeben."),
    ),
)

FRENCH = Phrases(
    topics=(
        (
            "Commande {order} non reçue",
            "Bonjour, ma commande {order} devait arriver lundi. Pouvez-vous vérifier ? {name}",
        ),
        (
            "Facture à la mauvaise adresse",
            "La facture de {order} porte mon ancienne adresse. Merci de l'envoyer à {email}.",
        ),
        ("{product} ne s'allume plus", "Depuis la mise à jour, {product} reste noir. Rappelez-moi au {phone}. {name}"),
        ("Changement d'adresse e-mail", "Utilisez désormais {email}, je ne lis plus l'ancienne boîte. Merci, {name}"),
        ("Remboursement de {order}", "J'ai renvoyé {product} il y a deux semaines, toujours rien. {name}"),
    ),
    contact=(
        "Des nouvelles ? Je suis aussi joignable au {phone}.",
        "Merci, ça marche ! Bien à vous, {name}",
        "Je joins une photo de l'étiquette.",
        "Cela arrive encore, deux fois par jour.",
    ),
    agent=(
        "Bonjour {first}, j'ai transmis à l'entrepôt et je reviens vers vous demain.",
        "Bonjour {first}, maintenez le bouton dix secondes puis réessayez.",
        "Bonjour {first}, le remboursement est parti aujourd'hui.",
    ),
    agent_quoting=(
        "La confirmation est partie à {email} ; regardez aussi les indésirables.",
        "Pouvez-vous confirmer que {email} est toujours votre adresse ?",
    ),
    other_quoting=(
        "Pareil pour moi. {email} et moi partageons l'abonnement, prévenez-nous tous les deux.",
        "J'ai transféré votre réponse à {email}.",
    ),
    chat_contact=(
        "bonjour, {product} est encore hors ligne",
        "c'est {email}",
        "le voyant rouge clignote",
        "parfait, merci !",
    ),
    chat_agent=("Bonjour, comment puis-je aider ?", "À quelle adresse est le compte ?", "Bonne journée !"),
    guide=(
        "L'étape 3 ne marche pas, écrivez à {email} si vous savez pourquoi.",
        "Merci, week-end sauvé. {name}",
        "Sur {product} le menu a un autre nom.",
    ),
    guide_quoting=("@{email} essayez sans le câble.", "J'ai écrit à {email}, c'est réglé."),
    call=(
        ("Bonjour, à qui ai-je l'honneur ?", "C'est {name}, mon numéro est le {phone}."),
        ("Que puis-je pour vous ?", "{product} est arrivé cassé, commande {order}."),
        ("Où envoyer l'étiquette ?", "À {email}, s'il vous plaît."),
    ),
    remark=("Rapide et aimable.", "Trop long. {name}", "Réglé au deuxième essai."),
    articles=(
        ("Réinitialiser l'appareil", "Maintenez le bouton dix secondes."),
        ("Retours et remboursements", "Imprimez l'étiquette et déposez le colis."),
    ),
)

SPANISH = Phrases(
    topics=(
        (
            "El pedido {order} no ha llegado",
            "Hola, mi pedido {order} tenía que llegar el lunes. ¿Pueden mirarlo? {name}",
        ),
        ("Factura con dirección equivocada", "La factura de {order} lleva mi dirección antigua. Envíenla a {email}."),
        ("{product} no se enciende", "Desde la actualización {product} sigue apagado. Llámenme al {phone}. {name}"),
        ("Cambio de correo electrónico", "Usen {email} desde ahora, ya no leo el buzón antiguo. Gracias, {name}"),
        ("Reembolso de {order}", "Devolví {product} hace dos semanas y sigo esperando el reembolso. {name}"),
    ),
    contact=(
        "¿Hay novedades? También estoy en el {phone}.",
        "¡Gracias, ya funciona! Saludos, {name}",
        "Adjunto una foto de la etiqueta.",
        "Sigue pasando, dos veces al día.",
    ),
    agent=(
        "Hola {first}, lo he pasado al almacén y te digo algo mañana.",
        "Hola {first}, mantén pulsado el botón diez segundos y prueba otra vez.",
        "Buenos días {first}, el reembolso ha salido hoy.",
    ),
    agent_quoting=(
        "He enviado la confirmación a {email}; mira también en el correo no deseado.",
        "¿Me confirmas que {email} sigue siendo tu dirección?",
    ),
    other_quoting=(
        "Yo igual. Comparto la suscripción con {email}, avisadnos a los dos.",
        "He reenviado vuestra respuesta a {email}.",
    ),
    chat_contact=(
        "hola, {product} está otra vez sin conexión",
        "es {email}",
        "la luz roja parpadea",
        "¡perfecto, gracias!",
    ),
    chat_agent=("Hola, ¿en qué puedo ayudar?", "¿Con qué dirección está la cuenta?", "¡Buen día!"),
    guide=(
        "El paso 3 no me funciona, escribidme a {email} si sabéis por qué.",
        "Gracias, me ha salvado el fin de semana. {name}",
        "En {product} el menú se llama de otra manera.",
    ),
    guide_quoting=("@{email} prueba sin el cable.", "Escribí a {email} y está resuelto."),
    call=(
        ("Buenos días, ¿con quién hablo?", "Soy {name}, mi número es {phone}."),
        ("¿En qué puedo ayudarle?", "{product} llegó roto, el pedido es {order}."),
        ("¿Dónde envío la etiqueta?", "A {email}, por favor."),
    ),
    remark=("Rápidos y amables.", "Tardaron mucho. {name}", "Resuelto a la segunda."),
    articles=(
        ("Restablecer el dispositivo", "Mantén pulsado el botón diez segundos."),
        ("Devoluciones y reembolsos", "Imprime la etiqueta y entrega el paquete."),
    ),
)

JAPANESE = Phrases(
    topics=(
        ("注文 {order} が届きません", "月曜日に届くはずの注文 {order} がまだ届いていません。ご確認ください。{name}"),
        ("請求書の住所が違います", "{order} の請求書が古い住所のままです。 {email} へ送ってください。"),
        ("{product} の電源が入りません", "更新してから {product} が動きません。 {phone} まで電話をください。{name}"),
        ("メールアドレスの変更", "今後は {email} をお使いください。よろしくお願いします。{name}"),
        ("{order} の返金について", "二週間前に {product} を返送しましたが、返金がまだです。{name}"),
    ),
    contact=(
        "その後いかがでしょうか。 {phone} でも連絡できます。",
        "直りました。ありがとうございます。{name}",
        "ラベルの写真を添付しました。",
        "まだ一日に二回起きます。",
    ),
    agent=(
        "{first} 様、倉庫に確認し、明日ご連絡いたします。",
        "{first} 様、電源ボタンを十秒間押してください。",
        "{first} 様、本日返金の手続きをいたしました。",
    ),
    agent_quoting=(
        "確認メールを {email} に送りました。迷惑メールもご覧ください。",
        "ご登録のアドレスは {email} でよろしいでしょうか。",
    ),
    other_quoting=(
        "私も同じです。 {email} と契約を共有しています。",
        "いただいた返事を {email} に転送しました。",
    ),
    chat_contact=(
        "{product} がまたつながりません",
        "アドレスは {email} です",
        "赤いランプが点滅しています",
        "ありがとうございました",
    ),
    chat_agent=("こんにちは、ご用件をどうぞ。", "ご登録のアドレスを教えてください。", "良い一日を。"),
    guide=(
        "手順3がうまくいきません。 {email} までお願いします。",
        "助かりました。{name}",
        "{product} ではメニューの名前が違います。",
    ),
    guide_quoting=("@{email} ケーブルを抜いて試してください。", "{email} さんと解決しました。"),
    call=(
        ("お名前をお願いいたします。", "{name} と申します。番号は {phone} です。"),
        ("ご用件を伺います。", "{product} が壊れて届きました。注文は {order} です。"),
        ("ラベルはどちらへ送りましょうか。", "{email} へお願いします。"),
    ),
    remark=("早くて親切でした。", "時間がかかりました。{name}", "二回目で解決しました。"),
    articles=(
        ("端末の初期化", "電源ボタンを十秒間押します。"),
        ("返品と返金", "ラベルを印刷して荷物を渡します。"),
    ),
)

LANGUAGES: dict[str, Phrases] = {
    "en": ENGLISH,
    "it": ITALIAN,
    "de": GERMAN,
    "fr": FRENCH,
    "es": SPANISH,
    "ja": JAPANESE,
}
